"""Every address, port and path of the embedded cluster, in one place.

All addresses lie on a bridge of our own, so that the usual ports (6443, 10250, ...) collide with nothing.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from toolbox import paths

NAME = "headrace"
"""Name of the context, the cluster and the user in kubeconfig files, and of the cgroup above all others."""

BRIDGE = "headrace0"
HOST_ADDRESS = "172.30.241.1"
"""The host's address on the bridge; the control plane listens here."""
NODE_NETWORK = "172.30.241.0/24"
POD_NETWORK = "10.244.0.0/16"
FAKE_POD_NETWORK = "10.245.0.1/16"
"""Where kwok takes the addresses of pods on fake nodes from; nothing answers there."""
SERVICE_NETWORK = "10.96.0.0/16"
API_SERVICE_ADDRESS = "10.96.0.1"
DNS_SERVICE_ADDRESS = "10.96.0.10"
DNS_PORT = 10053
"""Not 53: a resolver of the host may listen on every address there."""
DNS_READY_PORT = 10054
DNS_HEALTH_PORT = 10055
DNS_METRICS_PORT = 10056
API_PORT = 6443
API_URL = f"https://{HOST_ADDRESS}:{API_PORT}"
ETCD_PORT = 23790
ETCD_PEER_PORT = 23800
KUBELET_HEALTH_PORT = 10248
PROXY_HEALTH_PORT = 10256
KWOK_PORT = 10247
CLUSTER_DOMAIN = "cluster.local"

PAUSE_IMAGE = "docker.io/headrace/pause:dev"
MAX_NODES = 100

RUN_DIR = Path("/run/headrace")
"""Sockets and namespaces: short paths (a socket's may have 107 bytes) on a file system that a reboot empties."""

_NODE_NAME = re.compile(rf"{NAME}-([1-9]\d*)")


@dataclass(frozen=True)
class Node:
    """A real node of the embedded cluster: `Node(1)` is `headrace-1`."""

    index: int

    @property
    def name(self) -> str:
        """The node's name in the API."""
        return f"{NAME}-{self.index}"

    @property
    def address(self) -> str:
        """The node's IPv4 address on the bridge."""
        return f"172.30.241.{10 + self.index}"

    @property
    def pod_network(self) -> str:
        """The node's share of `POD_NETWORK`."""
        return f"10.244.{self.index}.0/24"

    @property
    def link(self) -> str:
        """The host's end of the node's veth pair (at most 15 characters)."""
        return f"headrace-v{self.index}"

    @property
    def folder(self) -> Path:
        """Configuration, images, containers and volumes of the node; removed by kind/down."""
        return cluster_dir() / "nodes" / self.name

    @property
    def run_dir(self) -> Path:
        """Sockets and containerd's state."""
        return RUN_DIR / self.name

    @property
    def socket(self) -> Path:
        """Containerd's socket."""
        return self.run_dir / "containerd.sock"

    @property
    def net_namespace(self) -> Path:
        """The file that holds the node's network namespace."""
        return RUN_DIR / "namespaces" / f"{self.name}.net"

    @property
    def mount_namespace(self) -> Path:
        """The file that holds the node's mount namespace."""
        return RUN_DIR / "namespaces" / f"{self.name}.mnt"

    @property
    def cgroup(self) -> str:
        """The kubelet's root cgroup, below which it puts the pods."""
        return f"/{NAME}/{self.name}"


def node_named(name: str) -> Node:
    """Return the node called `name`; raise ValueError, with what is accepted, if no node can be called that."""
    match = _NODE_NAME.fullmatch(name)
    if not match or int(match[1]) > MAX_NODES:
        raise ValueError(f"node {name!r}: accepted are {NAME}-1 to {NAME}-{MAX_NODES}")
    return Node(int(match[1]))


def cluster_dir() -> Path:
    """The embedded cluster's own folder; all of it is removed by kind/down."""
    return paths.state_dir() / "cluster"


def pki_dir() -> Path:
    """Keys and certificates."""
    return cluster_dir() / "pki"


def kubeconfig() -> Path:
    """The administrator's kubeconfig of the cluster, embedded or in a container engine."""
    return paths.state_dir() / "kubeconfig"


def nodes() -> list[Node]:
    """The nodes that were started and not taken down, by what is on disk."""
    folders = (cluster_dir() / "nodes").glob(f"{NAME}-*")
    return sorted((node_named(folder.name) for folder in folders), key=lambda node: node.index)
