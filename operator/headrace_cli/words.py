"""States of models and pods in words. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from headrace_api import names
from headrace_cli.live import condition

Object = dict[str, Any]

_UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def age(then: str | None, now: datetime) -> str:
    """How long ago an RFC 3339 time was, in the largest unit: `3 min`; a dash when there is none."""
    if not then:
        return "-"
    seconds = max(0, int((now - datetime.fromisoformat(then)).total_seconds()))
    unit, size = next((unit for unit in _UNITS if seconds >= unit[1]), _UNITS[-1])
    return f"{seconds // size} {unit}"


def readiness(model: Object) -> str:
    """Whether the model is Ready, on its way, or needs somebody; `not seen yet` before the operator has written."""
    ready = condition(model, "Ready")
    if not ready:
        return "not seen by an operator yet"
    if (model.get("status") or {}).get("observedGeneration") != model["metadata"].get("generation"):
        return "outdated: the operator has not seen the newest spec yet"
    if ready["status"] == "True":
        return "Ready"
    return "Stalled" if condition(model, "Stalled").get("status") == "True" else "Progressing"


def cause_and_hint(message: str) -> tuple[str, str]:
    """A condition's message: what is so, and what to do about it (empty when nothing is said)."""
    cause, _, hint = message.partition(names.HINT)
    return cause.strip(), hint.strip()


def pod_state(pod: Object) -> str:
    """What kubectl's STATUS column says: why the worker waits, how it ended, or its phase."""
    if pod["metadata"].get("deletionTimestamp"):
        return "Terminating"
    status = pod.get("status") or {}
    for container in _containers(status):
        state = container.get("state") or {}
        if reason := (state.get("waiting") or {}).get("reason"):
            return str(reason)
        ended = state.get("terminated") or {}
        if ended.get("exitCode") or (ended and container.get("name") == names.WORKER_CONTAINER):
            return str(ended.get("reason") or f"exit status {ended.get('exitCode')}")
    if condition(pod, "PodScheduled").get("status") == "False":
        return "Unschedulable"
    ready = condition(pod, "Ready").get("status") == "True"
    phase = str(status.get("phase", "Unknown"))
    return "Ready" if ready else "Running, not ready" if phase == "Running" else phase


def restarts(pod: Object) -> int:
    """How often containers of the pod were started again."""
    return sum(one.get("restartCount", 0) for one in (pod.get("status") or {}).get("containerStatuses") or [])


def _containers(status: Mapping[str, Any]) -> list[Object]:
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
