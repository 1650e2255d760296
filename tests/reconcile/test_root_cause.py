"""What pods say, in words."""

import pytest

from headrace_operator.root_cause import deployment_problem, lost, pod_problem


def pod(**status):
    return {
        "metadata": {"name": "sample-1"},
        "spec": {"nodeName": "node-2", "containers": [{"name": "worker", "image": "runtime:1"}]},
        "status": status,
    }


def waiting(reason, message):
    return pod(containerStatuses=[{"ready": False, "state": {"waiting": {"reason": reason, "message": message}}}])


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
        pod(containerStatuses=[{"ready": False, "restartCount": 1, "lastState": {"terminated": CRASHED}, "state": {}}]),
        "CUDA out of memory",
    ),
    "NodeLost": (
        pod(
            conditions=[{"type": "Ready", "status": "False"}],
            containerStatuses=[{"ready": True, "state": {"running": {}}}],
        ),
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
    state = {"ready": False, "restartCount": restarts, "lastState": {"terminated": CRASHED}, "state": {}}
    problem = pod_problem([pod(containerStatuses=[state])])
    assert problem is not None
    assert problem.permanent is permanent
    assert f"({restarts} restarts)" in problem.message


def test_running_and_starting_pods_have_no_problem():
    starting = pod(
        conditions=[{"type": "Ready", "status": "False"}],
        containerStatuses=[{"ready": False, "state": {"running": {}}}],
    )
    assert pod_problem([starting]) is None
    assert not lost(starting)


def test_evicted_from_a_lost_node():
    evicted = pod(conditions=[{"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager"}])
    assert lost(evicted)


def test_pods_that_are_not_even_created():
    failing = {"status": {"conditions": [{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}]}}
    problem = deployment_problem(failing)
    assert problem is not None
    assert "exceeded quota" in problem.message
    assert deployment_problem(None) is None
