"""What pods say, in words."""

import pytest

from headrace_operator.root_cause import deployment_problem, lost, pod_problem


def pod(**status):
    return {
        "metadata": {"name": "sample-1"},
        "spec": {"nodeName": "node-2", "containers": [{"name": "worker", "image": "runtime:1"}]},
        "status": status,
    }


def worker(**status):
    return {"name": "worker", "image": "runtime:1", "ready": False, "state": {}, **status}


def waiting(reason, message):
    state = {"waiting": {"reason": reason, "message": message}}
    return pod(containerStatuses=[worker(state=state)])


CRASHED = {"exitCode": 1, "message": "CUDA out of memory"}
CASES = {
    "Unschedulable": (
        pod(
            conditions=[
                {"type": "PodScheduled", "status": "False", "message": "0/3 nodes: Insufficient nvidia.com/gpu"}
            ]
        ),
        "Insufficient nvidia.com/gpu",
    ),
    "ImageNotAvailable": (waiting("ImagePullBackOff", "not found"), "runtime:1 cannot be pulled: not found"),
    "ContainerConfigError": (waiting("CreateContainerConfigError", 'secret "x" not found'), 'secret "x" not found'),
    "WorkerCrashed": (
        pod(
            containerStatuses=[
                {"name": "a-sidecar", "image": "mesh:1", "ready": True, "state": {"running": {}}},
                worker(restartCount=1, lastState={"terminated": CRASHED}),
            ]
        ),
        "CUDA out of memory",
    ),
    "NodeLost": (
        pod(conditions=[{"type": "Ready", "status": "False"}, {"type": "ContainersReady", "status": "True"}]),
        "node node-2 does not answer",
    ),
}


@pytest.mark.parametrize("reason", CASES)
def test_reason_and_message(reason):
    item, words = CASES[reason]
    problem = pod_problem([pod(conditions=[]), item])
    assert problem is not None
    assert problem.reason == reason
    assert words in problem.message


@pytest.mark.parametrize(("restarts", "permanent"), [(1, False), (2, True)])
def test_a_crash_that_comes_again_does_not_pass_by_itself(restarts, permanent):
    crashed = worker(restartCount=restarts, lastState={"terminated": CRASHED})
    problem = pod_problem([pod(containerStatuses=[crashed])])
    assert problem is not None
    assert problem.permanent is permanent
    assert f"({restarts} restarts)" in problem.message


def test_an_image_of_a_container_that_runs_first_is_named():
    state = {"waiting": {"reason": "ImagePullBackOff", "message": "denied"}}
    problem = pod_problem([pod(initContainerStatuses=[{"name": "fetch", "image": "fetch:2", "state": state}])])
    assert problem is not None
    assert problem.message == "image fetch:2 cannot be pulled: denied"


READY_UNSAID = {"type": "Ready", "status": "False"}
CONTAINERS = {"type": "ContainersReady", "status": "True"}


def test_pods_that_start_end_or_wait_for_a_gate_are_not_lost():
    starting = pod(conditions=[READY_UNSAID, {**CONTAINERS, "status": "False"}], containerStatuses=[worker()])
    gated = pod(conditions=[{**READY_UNSAID, "reason": "ReadinessGatesNotReady"}, CONTAINERS])
    ending = pod(conditions=[READY_UNSAID, CONTAINERS])
    ending["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert pod_problem([starting, gated, ending]) is None


def test_evicted_from_a_lost_node_and_from_one_that_answers():
    target = {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager"}
    evicted = pod(conditions=[target, READY_UNSAID, CONTAINERS])
    evicted["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert lost(evicted)
    evicted["status"]["conditions"] = [target, {**READY_UNSAID, "reason": "ContainersNotReady"}]
    assert not lost(evicted)


def test_pods_that_are_not_even_created():
    failing = {"status": {"conditions": [{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}]}}
    problem = deployment_problem(failing)
    assert problem is not None
    assert "exceeded quota" in problem.message
    assert deployment_problem(None) is None
