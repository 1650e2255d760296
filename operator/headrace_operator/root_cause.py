"""The root cause in words: what a model's pods and its Deployment say of why it is not ready. Pure.

Each rule looks at one pod (or the Deployment) and knows one reason. The first that applies wins, the gravest first.
"""

from collections.abc import Callable, Iterable
from typing import Any

from headrace_api import names
from headrace_operator.observed import Object, Problem

Rule = Callable[[Object], Problem | None]

_CRASHES = 2
"""After so many restarts a crash counts as one that comes again."""
_SAID = 1000
"""Characters of a termination message that go into the status; the worker puts the cause first."""


def pod_problem(pods: Iterable[Object]) -> Problem | None:
    """The gravest problem that a pod has, if any."""
    staying = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp") or lost(pod)]
    return next((problem for rule in _RULES for pod in staying if (problem := rule(pod))), None)


def deployment_problem(deployment: Object | None) -> Problem | None:
    """Why the Deployment's pods are not even created (quota, Pod Security, a webhook)."""
    failure = _condition(deployment or {}, "ReplicaFailure")
    if failure.get("status") != "True":
        return None
    return Problem("PodsRefused", f"the API server refuses the workers' pods: {failure.get('message', '')}")


def lost(pod: Object) -> bool:
    """Whether the pod's node has stopped answering.

    The node controller then sets the pod's Ready condition to False without a reason, and the kubelet's last word on
    the containers stays "ready". After the toleration it deletes the pod, with a DisruptionTarget condition; a pod that
    is deleted otherwise is not lost.
    """
    if pod["metadata"].get("deletionTimestamp"):
        return _condition(pod, "DisruptionTarget").get("reason") == "DeletionByTaintManager" and _silenced(pod)
    return _silenced(pod)


def _silenced(pod: Object) -> bool:
    ready = _condition(pod, "Ready")
    return (
        ready.get("status") == "False"
        and not ready.get("reason")
        and _condition(pod, "ContainersReady").get("status") == "True"
    )


def _node_lost(pod: Object) -> Problem | None:
    if not lost(pod):
        return None
    name, node = pod["metadata"]["name"], pod.get("spec", {}).get("nodeName", "?")
    message = f"node {node} does not answer, worker {name} on it is given up and replaced elsewhere"
    return Problem("NodeLost", message, permanent=False)


def _unschedulable(pod: Object) -> Problem | None:
    condition = _condition(pod, "PodScheduled")
    if condition.get("status") != "False":
        return None
    message = f"no node can take worker {pod['metadata']['name']}: {condition.get('message', '')}"
    return Problem("Unschedulable", message, permanent=False)


def _image(pod: Object) -> Problem | None:
    for status in _statuses(pod):
        waiting = _waiting(status)
        if waiting.get("reason") in {"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName"}:
            said = waiting.get("message", "")
            return Problem("ImageNotAvailable", f"image {status.get('image')} cannot be pulled: {said}")
    return None


def _config_error(pod: Object) -> Problem | None:
    for status in _statuses(pod):
        waiting = _waiting(status)
        if waiting.get("reason") in {"CreateContainerConfigError", "CreateContainerError"}:
            said = waiting.get("message", "")
            return Problem("ContainerConfigError", f"container {status['name']} cannot be started: {said}")
    return None


def _crashed(pod: Object) -> Problem | None:
    status = next((one for one in _statuses(pod) if one["name"] == names.WORKER_CONTAINER), {})
    ended = status.get("state", {}).get("terminated") or status.get("lastState", {}).get("terminated")
    if not ended or status.get("ready") or ended.get("exitCode") == 0:
        return None
    said = (ended.get("message") or ended.get("reason") or "no message").strip()[:_SAID]
    times = status.get("restartCount", 0)
    message = f"worker {pod['metadata']['name']} exited {ended.get('exitCode')} ({times} restarts); it said: {said}"
    return Problem("WorkerCrashed", message, permanent=times >= _CRASHES)


_RULES: tuple[Rule, ...] = (_node_lost, _config_error, _image, _crashed, _unschedulable)


def _condition(item: Object, kind: str) -> dict[str, Any]:
    conditions = item.get("status", {}).get("conditions") or []
    return next((condition for condition in conditions if condition["type"] == kind), {})


def _statuses(pod: Object) -> list[dict[str, Any]]:
    """The statuses of all containers, those that run first included; the kubelet sorts them by name."""
    status = pod.get("status", {})
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def _waiting(status: dict[str, Any]) -> dict[str, Any]:
    waiting: dict[str, Any] = status.get("state", {}).get("waiting") or {}
    return waiting
