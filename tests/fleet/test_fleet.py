"""Models on 200 GPU nodes: the real operator, API server, controllers and scheduler; nodes and pods played by kwok."""

import json
import time
from collections import Counter

import pytest
from tests import plane as planes
from tests.fleet import nodes

pytestmark = pytest.mark.cluster  # its programs are the cluster's

SECONDS = 180

LABEL = "headrace.dev/accelerator"
A10, A100, H100 = ({LABEL: kind} for kind in ("a10", "a100", "h100"))


def tolerate(key):
    return [{"key": key, "operator": "Exists", "effect": "NoSchedule"}]


PROFILES = {
    "a10": {"nodeSelector": A10, "memoryGiB": 24, "gpusPerNode": 4},
    "a100": {"nodeSelector": A100, "tolerations": tolerate("dedicated")},
    "h100-1g": {"nodeSelector": H100, "tolerations": tolerate("mig"), "resourceName": nodes.MIG},
    "few": {"nodeSelector": {**A10, "pool": "few"}, "tolerations": tolerate("pool")},
    "not-tolerated": {"nodeSelector": A100},
    "nowhere": {"nodeSelector": {LABEL: "b200"}},
    "big": {
        "tolerations": [*tolerate("dedicated"), *tolerate("mig")],
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [
                    {"matchExpressions": [{"key": LABEL, "operator": "In", "values": ["a100", "h100"]}]},
                ]
            }
        },
    },
}


def model(name, replicas, accelerator=None, **scaling):
    wanted = {"resourcesPerWorker": {f"accelerator_type_{accelerator}": 0.01}} if accelerator else {}
    return {
        "apiVersion": "headrace.dev/v1alpha1",
        "kind": "InferenceModel",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "engine": {"type": "VLLMEngine", "modelId": f"org/{name}"},
            "scaling": {**wanted, **scaling},
        },
    }


CLAIMS = {
    "resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "one-gpu"}],
    "containers": [{"name": "worker", "resources": {"claims": [{"name": "gpu"}]}}],
    "tolerations": tolerate("dedicated"),
}
OFFERED = "device.driver == 'example.com'"
OFFERING = "fake-a100-2"
"""The node whose driver offers devices to claim."""
CLAIMED = [
    {"apiVersion": "resource.k8s.io/v1", "kind": kind, "metadata": {"name": name, **more}, "spec": spec}
    for kind, name, more, spec in (
        (
            "DeviceClass",
            "gpu.example.com",
            {},
            {"selectors": [{"cel": {"expression": "device.driver == 'example.com'"}}]},
        ),
        (
            "ResourceSlice",
            "offered",
            {},
            {
                "driver": "example.com",
                "nodeName": OFFERING,
                "pool": {"name": OFFERING, "generation": 1, "resourceSliceCount": 1},
                "devices": [{"name": "gpu-0"}, {"name": "gpu-1"}],
            },
        ),
        (
            "ResourceClaimTemplate",
            "one-gpu",
            {"namespace": "default"},
            {"spec": {"devices": {"requests": [{"name": "gpu", "exactly": {"deviceClassName": "gpu.example.com"}}]}}},
        ),
    )
]
SERVING = {
    "apiVersion": "scheduling.k8s.io/v1",
    "kind": "PriorityClass",
    "metadata": {"name": "serving"},
    "value": 1000,
}
URGENT = {"priorityClassName": "serving", "nodeSelector": {"kubernetes.io/hostname": "fake-a10-40"}}


def with_template(one, **pod):
    return {**one, "spec": {**one["spec"], "template": {"spec": pod}}}


FIT = {
    "plain": (model("plain", 6), "a10", 6),
    "small": (model("small", 12, "A10"), "a10", 12),
    "half": (model("half", 3, "a10", numGpusPerWorker=0.5), "a10", 3),
    "large": (model("large", 10, "a100", numWorkers=8), "a100", 10),
    "slices": (model("slices", 30, "h100_1g"), "h100", 30),
    "by-affinity": (model("by-affinity", 4, "big"), "a100", 4),
    "packed": (model("packed", 8, "a100", placementStrategy="PACK"), "a100", 8),
    "spread": (model("spread", 8, "a100", placementStrategy="SPREAD"), "a100", 8),
    "urgent": (with_template(model("urgent", 1, "a10"), **URGENT), "a10", 1),
    "apart": (model("apart", 8, "a10", placementStrategy="STRICT_SPREAD"), "a10", 8),
}
"""Each model, the kind of node that it lands on, and its replicas."""

WAIT = {
    "too-many": (model("too-many", 1, "a100", numWorkers=16), "NotEnoughGpus", "67 Insufficient nvidia.com/gpu", 0),
    "too-few-nodes": (
        model("too-few-nodes", 7, "few", placementStrategy="STRICT_SPREAD"),
        "PlacementConstraint",
        "5 node(s) didn't match pod anti-affinity rules",
        5,
    ),
    "not-tolerated": (model("not-tolerated", 1, "not_tolerated"), "UntoleratedTaint", "untolerated taint", 0),
    "nowhere": (model("nowhere", 2, "nowhere"), "NoNodeMatches", "didn't match Pod's node affinity/selector", 0),
    "claiming": (
        with_template(model("claiming", 3, numCpusPerWorker=1), **CLAIMS),
        "ResourceClaimPending",
        "cannot allocate all claims",
        2,
    ),
    "slices-of-none": (
        model("slices-of-none", 1, "a10", resourcesPerWorker={"accelerator_type_a10": 1, nodes.MIG: 1}),
        "NotEnoughGpus",
        f"{67 - nodes.FEW} Insufficient {nodes.MIG}",
        0,
    ),
}
"""Each model, the reason and the scheduler's words for its last worker, and the workers that run all the same."""


@pytest.fixture(scope="module")
def plane():
    with planes.running(controllers=True, scheduler=True) as found:
        found.start_fake_nodes(nodes.fleet())
        found.apply(*CLAIMED, SERVING)
        options = {
            "queue-url": "http://queue.invalid",
            "images": json.dumps({"VLLMEngine": "docker.io/example/vllm:1"}),
            "accelerators": json.dumps(PROFILES),
            "default-accelerator": "a10",
            "namespaces": "default",
            "health-port": str(planes.free_port()),
        }
        found.start_operator(options)
        found.apply(*(one for one, *_ in (*FIT.values(), *WAIT.values())), model("unknown", 1, "gh200"))
        yield found


def ready(status):
    return next((one for one in status.get("conditions", []) if one["type"] == "Ready"), {})


@pytest.fixture(scope="module")
def settled(plane):
    """The status of every model, when nothing is going to change any more."""
    wanted = {name: f"{count}/{count}" for name, (_, _, count) in FIT.items()}
    wanted |= {name: f"{count}/{one['spec']['replicas']}" for name, (one, *_, count) in WAIT.items()}
    deadline = time.monotonic() + SECONDS
    while True:
        items = plane.get("inferencemodels.headrace.dev")["items"]
        found = {item["metadata"]["name"]: item.get("status", {}) for item in items}
        late = {name for name, workers in wanted.items() if found[name].get("workers") != workers}
        late |= {name for name, (_, _, words, _) in WAIT.items() if words not in ready(found[name]).get("message", "")}
        late |= {"unknown"} - {name for name in found if ready(found[name])}
        if not late:
            return found
        if plane.children["operator"].poll() is not None or time.monotonic() > deadline:
            log = (plane.folder / "operator.log").read_text()[-3000:]
            states = {name: (found[name].get("workers"), ready(found[name])) for name in late}
            raise AssertionError(f"not settled: {json.dumps(states, indent=1)}\n{log}")
        time.sleep(0.5)


@pytest.fixture(scope="module")
def landed(plane, settled):  # noqa: ARG001
    """The nodes of each model's workers, by the model's name; None for a worker without one."""
    kinds = {node["metadata"]["name"]: nodes.kind(node) for node in plane.get("nodes")["items"]}
    found = {}
    for pod in plane.get("pods")["items"]:
        node = pod["spec"].get("nodeName")
        found.setdefault(pod["metadata"]["labels"]["headrace.dev/model"], []).append((node, kinds.get(node)))
    return found


@pytest.mark.parametrize("name", FIT)
def test_a_model_lands_where_it_must(settled, landed, name):
    _, kind, count = FIT[name]
    assert (ready(settled[name])["status"], ready(settled[name])["reason"]) == ("True", "WorkersReady")
    assert Counter(found for _, found in landed[name]) == {kind: count}


@pytest.mark.parametrize("name", WAIT)
def test_a_model_that_cannot_land_says_why(settled, landed, name):
    one, reason, _, running = WAIT[name]
    assert (ready(settled[name])["status"], ready(settled[name])["reason"]) == ("False", reason)
    assert "/200 nodes are available" in ready(settled[name])["message"]
    assert sum(node is not None for node, _ in landed[name]) == running
    assert len(landed[name]) == one["spec"]["replicas"]


def test_an_accelerator_without_profile_makes_no_pods_and_is_told(settled, landed):
    told = ready(settled["unknown"])
    assert (told["status"], told["reason"]) == ("False", "AcceleratorNotAvailable")
    assert "accepted: a10, a100, big, few, h100-1g, not-tolerated, nowhere" in told["message"]
    assert "runtime.accelerators" in told["message"]
    assert "unknown" not in landed


def test_claimed_devices_are_where_their_driver_offers_them(plane, landed):
    assert {node for node, _ in landed["claiming"] if node} == {OFFERING}
    pods = plane.get("pods", "-l", "headrace.dev/model=claiming")["items"]
    assert all("limits" not in pod["spec"]["containers"][0]["resources"] for pod in pods)


def test_a_template_adds_a_priority_and_a_node(plane, landed):
    assert landed["urgent"] == [("fake-a10-40", "a10")]
    (pod,) = plane.get("pods", "-l", "headrace.dev/model=urgent")["items"]
    assert (pod["spec"]["priority"], pod["spec"]["nodeSelector"]) == (
        1000,
        {**A10, "kubernetes.io/hostname": "fake-a10-40"},
    )


def test_workers_of_eight_gpus_have_a_node_each(landed):
    assert len({node for node, _ in landed["large"]}) == 10


def test_packed_replicas_share_nodes_and_spread_ones_do_not(landed):
    assert len({node for node, _ in landed["packed"]}) < 8 / 2
    assert len({node for node, _ in landed["spread"]}) == 8
    assert len({node for node, _ in landed["apart"]}) == 8
    assert len({node for node, _ in landed["too-few-nodes"] if node}) == nodes.FEW


def test_a_rollout_needs_no_node_beside_those_of_strictly_spread_replicas(plane, landed):
    before = _revisions(plane)
    name = "inferencemodels.headrace.dev/too-few-nodes"
    change = {"spec": {"replicas": nodes.FEW, "engine": {"maxTotalTokens": 64}}}
    plane.kubectl("patch", name, "--type=merge", "-p", json.dumps(change))
    deadline = time.monotonic() + SECONDS
    while True:
        found = _revisions(plane)
        workers = plane.get(name)["status"].get("workers")
        if workers == f"{nodes.FEW}/{nodes.FEW}" and len(found) == nodes.FEW and not dict(found).keys() & dict(before):
            break
        assert time.monotonic() < deadline, (workers, found)
        time.sleep(0.5)
    assert {node for _, node in found} == {node for _, node in before if node}
    assert {node for _, node in found} == {node for node, _ in landed["too-few-nodes"] if node}


def _revisions(plane):
    """The revision and the node of each worker of the model."""
    pods = plane.get("pods", "-l", "headrace.dev/model=too-few-nodes")["items"]
    return [(pod["metadata"]["labels"]["pod-template-hash"], pod["spec"].get("nodeName")) for pod in pods]


def test_no_node_has_more_than_its_devices(plane, landed):  # noqa: ARG001
    taken = Counter()
    for pod in plane.get("pods")["items"]:
        limits = pod["spec"]["containers"][0]["resources"].get("limits", {})
        for resource, count in limits.items():
            taken[pod["spec"].get("nodeName"), resource] += int(count)
    for node in plane.get("nodes")["items"]:
        name, allocatable = node["metadata"]["name"], node["status"]["allocatable"]
        for (where, resource), count in taken.items():
            assert where != name or count <= int(allocatable[resource])
