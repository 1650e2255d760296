"""The exact versions of everything that the local cluster is made of, in one place."""

KUBERNETES = "v1.34.4"
HELM = "v3.19.0"
COREDNS = "v1.12.1"
"""The CoreDNS that this Kubernetes release ships with."""
KWOK = "v0.7.0"
KIND = "v0.30.0"
"""The first kind release for Kubernetes 1.34."""
KIND_NODE_IMAGE = "kindest/node:v1.34.0"
GO = "1.24.11"
"""The Go toolchain fetched where none is installed; GO_MINIMUM is what the modules above ask for."""
GO_MINIMUM = (1, 24)
