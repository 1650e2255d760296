"""What kstatus makes of an object of a kind that it does not know: its rules, as far as they concern such kinds.

From sigs.k8s.io/cli-utils, pkg/kstatus/status: generic.go (deletion, generation, Reconciling, Stalled, in the order in
which the conditions are listed) and status.go (Ready; an object without it counts as current).
"""

from collections.abc import Iterator
from typing import Any, Literal

Object = dict[str, Any]
Status = Literal["Terminating", "InProgress", "Failed", "Current"]


def compute(item: Object) -> Status:
    """The status that Flux, Argo CD's generic check and kpt would show."""
    return next(_rules(item))


def _rules(item: Object) -> Iterator[Status]:
    metadata, status = item["metadata"], item.get("status") or {}
    conditions = status.get("conditions") or []
    if metadata.get("deletionTimestamp"):
        yield "Terminating"
    if "observedGeneration" in status and status["observedGeneration"] != metadata["generation"]:
        yield "InProgress"
    for one in conditions:
        if one["status"] == "True" and one["type"] in {"Reconciling", "Stalled"}:
            yield "InProgress" if one["type"] == "Reconciling" else "Failed"
    for one in conditions:
        if one["type"] == "Ready":
            yield "Current" if one["status"] == "True" else "InProgress"
    yield "Current"
