"""A fleet of 200 GPU nodes of three kinds, for kwok to play.

They are those of `embedded.fakenodes` (67 a10, 67 a100, 66 h100, by the label `headrace.dev/accelerator`), except that
an a10 node has four GPUs and no taint, an a100 node has eight and the taint `dedicated=a100:NoSchedule`, and an h100
node is divided into 56 MIG slices, with a taint for them. Every node tells its zone; five a10 nodes are the pool `few`,
with a taint that keeps other models' workers from it: how many of its nodes are full is then no accident.
"""

from itertools import islice
from typing import Any

from embedded import fakenodes

COUNT = 200
FEW = 5
MIG = "nvidia.com/mig-1g.10gb"
_GPU = "nvidia.com/gpu"
_DEVICES = {"a10": (_GPU, 4), "a100": (_GPU, 8), "h100": (MIG, 56)}
TAINTS = {
    "a10": [],
    "a100": [{"key": "dedicated", "value": "a100", "effect": "NoSchedule"}],
    "h100": [{"key": "mig", "value": "1g.10gb", "effect": "NoSchedule"}],
}

Object = dict[str, Any]


def fleet() -> list[Object]:
    """All nodes."""
    nodes = [_node(node) for node in fakenodes.objects(COUNT)]
    for node in islice((node for node in nodes if kind(node) == "a10"), FEW):
        node["metadata"]["labels"]["pool"] = "few"
        node["spec"]["taints"] = [{"key": "pool", "value": "few", "effect": "NoSchedule"}]
    return nodes


def kind(node: Object) -> str:
    """The kind of accelerator that a node has."""
    label: str = node["metadata"]["labels"]["headrace.dev/accelerator"]
    return label


def _node(node: Object) -> Object:
    resource, count = _DEVICES[kind(node)]
    capacity = {name: amount for name, amount in node["status"]["capacity"].items() if name != _GPU}
    capacity[resource] = str(count)
    return {
        **node,
        "spec": {"taints": TAINTS[kind(node)]},
        "status": {"capacity": capacity, "allocatable": capacity},
    }
