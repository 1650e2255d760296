"""Fake GPU nodes, played by kwok: the API server sees real Node objects, and pods that are bound to them go Running."""

import json
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from toolbox import steps

from embedded import layout, process, programs, recipes

ACCELERATORS = ("a10", "a100", "h100")
"""Values of the label `headrace.dev/accelerator`, taken in turn."""
GPUS_PER_NODE = 8
_MARK = "kwok.x-k8s.io/node"


def objects(count: int) -> list[dict[str, Any]]:
    """`count` Node objects, which only pods that tolerate the taint `kwok.x-k8s.io/node=fake:NoSchedule` are put on."""
    return [_node(number, kind) for number, kind in enumerate(islice(cycle(ACCELERATORS), count), start=1)]


def ensure(count: int, kubectl: Path) -> None:
    """Start kwok and make the cluster have at least `count` fake nodes."""
    kwok = programs.fetch(recipes.KWOK) / "kwok"
    items = {"apiVersion": "v1", "kind": "List", "items": objects(count)}
    apply: list[process.Word] = [
        kubectl,
        "--kubeconfig",
        layout.kubeconfig(),
        "apply",
        "--server-side",
        "--field-manager=headrace-kind",
    ]
    steps.run([*apply, "--filename=-"], log="fake-nodes", stdin=json.dumps(items))
    options = [
        f"--kubeconfig={layout.kubeconfig()}",
        # kwok leaves every node without this annotation, and its pods, alone
        "--manage-all-nodes=false",
        f"--manage-nodes-with-annotation-selector={_MARK}=fake",
        "--node-lease-duration-seconds=16",
        "--disable-qps-limits=true",
    ]
    process.ensure(process.Program("kwok", [kwok, *options]))
    ready: list[process.Word] = [kubectl, "--kubeconfig", layout.kubeconfig(), "wait", "--for=condition=Ready", "nodes"]
    steps.run([*ready, "--selector=type=kwok", "--timeout=60s"], log="fake-nodes")
    steps.say(f"{count} fake nodes with {GPUS_PER_NODE} GPUs each")


def _node(number: int, accelerator: str) -> dict[str, Any]:
    capacity = {"cpu": "64", "memory": "512Gi", "ephemeral-storage": "1Ti", "pods": "110"}
    capacity["nvidia.com/gpu"] = str(GPUS_PER_NODE)
    name = f"fake-{accelerator}-{number}"
    labels = {
        "type": "kwok",
        "headrace.dev/accelerator": accelerator,
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels, "annotations": {_MARK: "fake"}},
        "spec": {"taints": [{"key": _MARK, "value": "fake", "effect": "NoSchedule"}]},
        "status": {"capacity": capacity, "allocatable": capacity},
    }
