"""The root cause in words: what a model's pods and its Deployment say of why it is not ready. Pure.

Each rule looks at one pod (or the Deployment) and knows one reason. The first that applies wins, the gravest first.
"""

from collections.abc import Callable, Iterable
from typing import Any

from headrace_operator.observed import Object, Problem

Rule = Callable[[Object], Problem | None]

_CRASHES = 2
"""After so many restarts a crash counts as one that comes again."""
_SAID = 1000
"""Characters of a termination message that go into the status; the worker puts the cause first."""


def pod_problem(pods: Iterable[Object]) -> Problem | None:
    """The gravest problem that a pod has, if any."""
    pods = list(pods)
    return next((problem for rule in _RULES for pod in pods if (problem := rule(pod))), None)


def deployment_problem(deployment: Object | None) -> Problem | None:
    """Why the Deployment's pods are not even created (quota, Pod Security, a webhook)."""
    failure = _condition(deployment or {}, "ReplicaFailure")
    if failure.get("status") != "True":
        return None
    return Problem("PodsRefused", f"the API server refuses the workers' pods: {failure.get('message', '')}")


def lost(pod: Object) -> bool:
    """Whether the pod's node has stopped answering.

    The node controller then sets the pod's Ready condition to False, while the kubelet's last word on the container
    stays "ready"; after the toleration it deletes the pod, with a DisruptionTarget condition.
    """
    if _condition(pod, "DisruptionTarget").get("reason") == "DeletionByTaintManager":
        return True
    statuses = pod.get("status", {}).get("containerStatuses", [])
    not_ready = _condition(pod, "Ready").get("status") == "False"
    return not_ready and bool(statuses) and all(status.get("ready") for status in statuses)


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
    waiting = _waiting(pod)
    if waiting.get("reason") not in {"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName"}:
        return None
    image = pod["spec"]["containers"][0].get("image")
    return Problem("ImageNotAvailable", f"image {image} cannot be pulled: {waiting.get('message', '')}")


def _config_error(pod: Object) -> Problem | None:
    waiting = _waiting(pod)
    if waiting.get("reason") not in {"CreateContainerConfigError", "CreateContainerError"}:
        return None
    return Problem("ContainerConfigError", f"the worker cannot be started: {waiting.get('message', '')}")


def _crashed(pod: Object) -> Problem | None:
    status = _worker_status(pod)
    ended = status.get("state", {}).get("terminated") or status.get("lastState", {}).get("terminated")
    if not ended or status.get("ready") or pod["metadata"].get("deletionTimestamp") or ended.get("exitCode") == 0:
        return None
    said = (ended.get("message") or ended.get("reason") or "no message").strip()[:_SAID]
    times = status.get("restartCount", 0)
    message = f"worker {pod['metadata']['name']} exited {ended.get('exitCode')} ({times} restarts); it said: {said}"
    return Problem("WorkerCrashed", message, permanent=times >= _CRASHES)


_RULES: tuple[Rule, ...] = (_node_lost, _config_error, _image, _crashed, _unschedulable)


def _condition(item: Object, kind: str) -> dict[str, Any]:
    conditions = item.get("status", {}).get("conditions") or []
    return next((condition for condition in conditions if condition["type"] == kind), {})


def _worker_status(pod: Object) -> dict[str, Any]:
    statuses: list[dict[str, Any]] = pod.get("status", {}).get("containerStatuses") or []
    return statuses[0] if statuses else {}


def _waiting(pod: Object) -> dict[str, Any]:
    waiting: dict[str, Any] = _worker_status(pod).get("state", {}).get("waiting") or {}
    return waiting
