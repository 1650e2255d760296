"""What the objects of a model say of why it is not ready: the input of every rule, taken apart once. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from headrace_api import names
from headrace_operator.observed import Capacity, Object

_HEAD = "\nlast lines:\n"
"""Where, in a termination message, the engine's own errors end (see `headrace_worker.termination`)."""


@dataclass(frozen=True)
class Waiting:
    """A container that cannot run."""

    container: str
    image: str
    reason: str
    message: str


@dataclass(frozen=True)
class Ended:
    """How the worker's container ended last, unless it has started well since."""

    exit_code: int
    reason: str
    text: str
    """Its termination message."""
    restarts: int

    @property
    def errors(self) -> str:
        """What the engine named as errors; all of the message where there are none or the worker wrote it itself."""
        head, found, _ = self.text.partition(_HEAD)
        return head if found and "\n" in head else self.text

    @property
    def how(self) -> str:
        """In words that do not change with each further restart."""
        times = ("exited", "exited twice with", "exits again and again with")[min(self.restarts, 2)]
        return f"{times} {self.exit_code}"


@dataclass(frozen=True)
class Evidence:
    """One worker's pod, or the Deployment of all."""

    worker: str = ""
    """The pod's name; empty when this is about the Deployment."""
    pod: Object = field(default_factory=dict)
    template: Object = field(default_factory=dict)
    """The pod template's spec, which has the constraints of the placement."""
    refused: str = ""
    """What the API server says of pods that it does not let in."""
    overdue: bool = False
    """Whether the Deployment waits for longer than it should."""
    unscheduled: str = ""
    """What the scheduler says."""
    gated: bool = False
    """Whether something keeps the scheduler from looking at the pod."""
    waiting: tuple[Waiting, ...] = ()
    ended: Ended | None = None
    capacity: Capacity | None = None
    queue_url: str = ""
    all_connected: bool = False
    """Whether the queue has as many workers of the model as have started."""

    @property
    def started(self) -> bool:
        """Whether the engine has answered, by the startup probe; without one, nobody knows."""
        return _probed(self.template) and bool(worker_status(self.pod).get("started"))

    @property
    def node(self) -> str:
        """The node that the pod is on."""
        return str(self.pod.get("spec", {}).get("nodeName") or "?")

    @property
    def status(self) -> Object:
        """The pod's status."""
        found: Object = self.pod.get("status") or {}
        return found


def of_pod(  # noqa: PLR0913  # what is known beside the pod
    pod: Object,
    template: Object | None = None,
    capacity: Capacity | None = None,
    queue_url: str = "",
    *,
    overdue: bool = False,
    all_connected: bool = False,
) -> Evidence:
    """What a worker's pod says."""
    scheduled = condition(pod, "PodScheduled")
    waits = scheduled.get("status") == "False"
    return Evidence(
        worker=pod["metadata"]["name"],
        pod=pod,
        template=template or {},
        overdue=overdue,
        unscheduled=scheduled.get("message") or scheduled.get("reason", "") if waits else "",
        gated=waits and scheduled.get("reason") == "SchedulingGated",
        waiting=tuple(_waiting(pod)),
        ended=_ended(worker_status(pod), probed=_probed(template or {})),
        capacity=capacity,
        queue_url=queue_url,
        all_connected=all_connected,
    )


def of_deployment(deployment: Object) -> Evidence:
    """What the Deployment says of pods that are not even created, and of waiting for too long."""
    failure, progress = condition(deployment, "ReplicaFailure"), condition(deployment, "Progressing")
    return Evidence(
        refused=failure.get("message", "") if failure.get("status") == "True" else "",
        overdue=progress.get("reason") == "ProgressDeadlineExceeded",
    )


def lost(pod: Object) -> bool:
    """Whether the pod's node has stopped answering.

    The node controller then sets the pod's Ready condition to False without a reason, and the kubelet's last word on
    the containers stays "ready". After the toleration it deletes the pod, with a DisruptionTarget condition; a pod that
    is deleted otherwise is not lost.
    """
    if pod["metadata"].get("deletionTimestamp"):
        return condition(pod, "DisruptionTarget").get("reason") == "DeletionByTaintManager" and _silenced(pod)
    return _silenced(pod)


def condition(item: Object, kind: str) -> dict[str, Any]:
    """The condition of an object, an empty map when it has none of that type."""
    conditions = (item.get("status") or {}).get("conditions") or []
    return next((condition for condition in conditions if condition["type"] == kind), {})


def worker_status(pod: Object) -> dict[str, Any]:
    """What the kubelet says of the worker's container."""
    return next((one for one in _statuses(pod) if one["name"] == names.WORKER_CONTAINER), {})


def _silenced(pod: Object) -> bool:
    ready = condition(pod, "Ready")
    return (
        ready.get("status") == "False"
        and not ready.get("reason")
        and condition(pod, "ContainersReady").get("status") == "True"
    )


def _statuses(pod: Object) -> list[dict[str, Any]]:
    """The statuses of all containers, those that run first included; the kubelet sorts them by name."""
    status = pod.get("status") or {}
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def _waiting(pod: Object) -> Iterator[Waiting]:
    for status in _statuses(pod):
        if state := (status.get("state") or {}).get("waiting"):
            image = status.get("image", "")
            yield Waiting(status["name"], image, state.get("reason", ""), state.get("message", ""))


def _probed(template: Object) -> bool:
    """Whether the worker has a startup probe: a model's own template, or a revision of earlier times, may have none."""
    return any(
        one["name"] == names.WORKER_CONTAINER and one.get("startupProbe") for one in template.get("containers", [])
    )


def _ended(status: dict[str, Any], *, probed: bool) -> Ended | None:
    """The last end of the container, whatever it does now: the reason shall not change with each restart.

    Once the container has started again, by its startup probe, its last end is history.
    """
    now = (status.get("state") or {}).get("terminated")
    ended = now or (status.get("lastState") or {}).get("terminated")
    if not ended or status.get("ready") or (not now and probed and status.get("started")):
        return None
    text = (ended.get("message") or "").strip()
    return Ended(ended.get("exitCode", 0), ended.get("reason", ""), text, status.get("restartCount", 0))
