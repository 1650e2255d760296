"""A real Kubernetes on one machine without a container engine: a guest that leaves nothing behind.

Others use the module `embedded.local`, which works the same way with the embedded cluster and with kind in a container
engine: `up`, `down`, `import_images`, `kubectl`, `helm`, `kubeconfig`, `stop_node`, `start_node`, `fake_gpus`.

Inside: `layout` has every address and path; `programs` gets the binaries (`releases`, or `golang` with `recipes` and
`gomod`); `cluster` brings all up and down out of `pki`, `kubeconfigs`, `network`, `cgroups`, `process`, `controlplane`,
`nodes`, `addons` and `imagestore`; `engine` is kind; `fakenodes` is kwok.
"""
