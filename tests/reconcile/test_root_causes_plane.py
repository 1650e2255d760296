"""Where GPUs are free, as a real operator tells it beside the real scheduler, with and without seeing nodes."""

import asyncio
import contextlib
import json

import pytest
from tests import plane as planes

pytestmark = pytest.mark.cluster

MODELS = "inferencemodels.headrace.dev"
RIGHTS = [
    {"apiGroups": ["headrace.dev"], "resources": ["inferencemodels"], "verbs": ["get", "list", "watch"]},
    {"apiGroups": ["headrace.dev"], "resources": ["inferencemodels/status"], "verbs": ["get", "patch"]},
    *(
        {"apiGroups": [group], "resources": names, "verbs": ["get", "list", "watch", "create", "patch", "delete"]}
        for group, names in {
            "": ["configmaps", "services", "serviceaccounts", "pods"],
            "apps": ["deployments"],
            "policy": ["poddisruptionbudgets"],
            "networking.k8s.io": ["networkpolicies"],
        }.items()
    ),
    {"apiGroups": [""], "resources": ["events"], "verbs": ["create"]},
]
MAY_SEE_NODES = {"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]}
CONFIG = {"VLLMEngine": "runtime:1"}


def role(*rules):
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "operator"},
        "rules": list(rules),
    }


BINDING = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRoleBinding",
    "metadata": {"name": "operator"},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "operator"},
    "subjects": [{"kind": "ServiceAccount", "name": "operator", "namespace": "default"}],
}
ACCOUNT = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "operator", "namespace": "default"}}


def node(name, gpus, labels, *taints):
    allocatable = {"cpu": "32", "memory": "64Gi", "pods": "110", "nvidia.com/gpu": str(gpus)}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels, "annotations": {"kwok.x-k8s.io/node": "fake"}},
        "spec": {"taints": list(taints)},
        "status": {"allocatable": allocatable, "capacity": allocatable},
    }


KEPT = {"key": "kept", "value": "others", "effect": "NoSchedule"}
NODES = [node("a-1", 8, {"gpu": "a"}), node("a-2", 8, {"gpu": "a"}), node("b-1", 4, {"gpu": "b"}, KEPT)]


def model(name, gpus, replicas, **selector):
    return {
        "apiVersion": "headrace.dev/v1alpha1",
        "kind": "InferenceModel",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "engine": {"type": "VLLMEngine", "modelId": f"test/{name}"},
            "scaling": {"numWorkers": gpus},
            "template": {"spec": {"nodeSelector": selector}},
        },
    }


@contextlib.contextmanager
def operator(plane):
    """A real operator with the rights of its service account."""
    token = plane.kubectl("create", "token", "operator", "--duration=1h").strip()
    options = {
        "health-port": str(planes.free_port()),
        "queue-url": "http://queue:8080",
        "images": json.dumps(CONFIG),
        "namespaces": "default",
    }
    plane.start_operator(options, plane.kubeconfig_for(token, "operator"))
    try:
        yield
    finally:
        plane.stop("operator")


async def ready_of(plane, name, until):
    """The Ready condition, once `until` holds of it."""
    found = {}
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(60):
            while not (found and until(found)):
                await asyncio.sleep(0.2)
                item = await asyncio.to_thread(plane.get, MODELS, name)
                conditions = item.get("status", {}).get("conditions", [])
                found = next((one for one in conditions if one["type"] == "Ready"), {})
    assert found, (plane.folder / "operator.log").read_text()[-3000:]
    assert until(found), f"{found}\n{(plane.folder / 'operator.log').read_text()[-3000:]}"
    return found


@pytest.fixture(scope="module")
def plane():
    with planes.running(controllers=True, scheduler=True) as running:
        running.start_fake_nodes(NODES)
        running.apply(ACCOUNT, role(*RIGHTS), BINDING)
        yield running


async def test_nodes_with_free_gpus_are_named_where_they_may_be_seen(plane):
    plane.apply(model("full", 5, 3, gpu="a"), model("kept", 1, 1, gpu="b"), model("none", 1, 1, gpu="c"))
    with operator(plane):
        blind = await ready_of(plane, "full", lambda one: one["reason"] == "NotEnoughGpus")
        assert "asks for 5 nvidia.com/gpu; 2 of 3 nodes would do but have too few free" in blind["message"]
        assert "a-1" not in blind["message"]
        await ready_of(plane, "none", lambda one: one["reason"] == "UntoleratedTaint")
    plane.apply(role(*RIGHTS, MAY_SEE_NODES))
    with operator(plane):
        told = await ready_of(plane, "full", lambda one: "a-1" in one["message"])
        assert "nvidia.com/gpu not used by Headrace: a-1 3 of 8, a-2 3 of 8." in told["message"]
        kept = await ready_of(plane, "kept", lambda one: "kept=others:NoSchedule" in one["message"])
        assert kept["reason"] == "UntoleratedTaint"
        await ready_of(plane, "none", lambda one: one["reason"] == "NoNodeMatches")
        plane.kubectl("scale", f"{MODELS}/full", "--replicas=2")
        await ready_of(plane, "full", lambda one: one["status"] == "True")
