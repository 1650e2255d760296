"""Fake GPU nodes, played by kwok: the API server sees real Node objects, and pods that are bound to them go Running."""

import json
import time
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from embedded import layout, process, programs, recipes
from toolbox import steps

ACCELERATORS = ("a10", "a100", "h100")
"""Values of the label `headrace.dev/accelerator`, taken in turn."""
GPUS_PER_NODE = 8
_MARK = "kwok.x-k8s.io/node"
_READY_SECONDS = 60.0


def objects(count: int) -> list[dict[str, Any]]:
    """`count` Node objects, which only pods that tolerate the taint `kwok.x-k8s.io/node=fake:NoSchedule` are put on."""
    return [_node(number, kind) for number, kind in enumerate(islice(cycle(ACCELERATORS), count), start=1)]


def ensure(count: int, kubectl: Path) -> None:
    """Start kwok and make the cluster have at least `count` fake nodes, all of them ready.

    Raises:
        StepError: kwok ended, or the nodes are not ready within a minute.
    """
    kwok = programs.fetch(recipes.KWOK) / "kwok"
    process.ensure(process.Program("kwok", [kwok, *_options()]))
    items = {"apiVersion": "v1", "kind": "List", "items": objects(count)}
    # forced: on a node that kwok had left alone the controller manager owns the taints, with its own beside ours
    apply = ["apply", "--server-side", "--force-conflicts", "--field-manager=headrace-kind", "--filename=-"]
    steps.run([kubectl, "--kubeconfig", layout.kubeconfig(), *apply], log="fake-nodes", stdin=json.dumps(items))
    deadline = time.monotonic() + _READY_SECONDS
    while (ready := _ready(kubectl)) < count:
        if process.running("kwok") is None or time.monotonic() > deadline:
            raise steps.StepError(f"kwok: {ready} of {count} fake nodes are ready\n{process.tail('kwok')}")
        time.sleep(0.3)
    steps.say(f"ready: {ready} fake nodes with {GPUS_PER_NODE} GPUs each")


def _options() -> list[str]:
    return [
        # not the user's ~/.kwok/kwok.yaml; without any, kwok's own stages make nodes ready and pods run
        "--config=/dev/null",
        f"--kubeconfig={layout.kubeconfig()}",
        # kwok leaves every node without this annotation, and its pods, alone
        "--manage-all-nodes=false",
        f"--manage-nodes-with-annotation-selector={_MARK}=fake",
        f"--cidr={layout.FAKE_POD_NETWORK}",
        "--node-lease-duration-seconds=16",
        "--v=WARN",
    ]


def _ready(kubectl: Path) -> int:
    query = ["get", "nodes", "--selector=type=kwok", "--output=json"]
    items = json.loads(steps.capture([kubectl, "--kubeconfig", layout.kubeconfig(), *query]))["items"]
    conditions = [condition for node in items for condition in node["status"].get("conditions", [])]
    return sum(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


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
