"""Which changes of a status are worth a write at once, and which can wait for a calm moment. Pure."""

from collections.abc import Mapping
from typing import Any

_NUMBERS = frozenset({"replicas", "readyReplicas", "workers", "queued", "running", "starting"})
"""Fields that people look at now and then, and that no controller waits for."""
_SETTLED_SECONDS = 5.0
_MOVING_SECONDS = 30.0


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """The top-level fields that differ, as a JSON merge patch of the status.

    A map inside is patched as a merge: what it no longer holds is said with null.
    """
    return {
        name: _merge(before.get(name), value) for name, value in after.items() if not _equal(before.get(name), value)
    }


def can_wait(before: Mapping[str, Any], changed: Mapping[str, Any]) -> bool:
    """Whether only numbers, and the conditions' words for them, differ from what is stored.

    Somebody may be waiting for a condition's status or reason, for the observed generation or for a scaling decision;
    they are written at once. A first status is, too.
    """
    if not before:
        return False
    conditions = "conditions" not in changed or _states(before) == _states(changed)
    return conditions and changed.keys() <= _NUMBERS | {"conditions"}


def patience_seconds(status: Mapping[str, Any]) -> float:
    """How long numbers wait: longer while a condition is about to change, which takes them along."""
    states = {kind: state for kind, (state, *_) in _states(status).items()}
    return _MOVING_SECONDS if states.get("Reconciling") == "True" else _SETTLED_SECONDS


def _states(status: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    conditions = status.get("conditions") or []
    return {one["type"]: tuple(one.get(name) for name in _STATE) for one in conditions}


_STATE = ("status", "reason", "observedGeneration")


def _equal(before: Any, after: Any) -> bool:
    """Whether nothing has to be written: the API server stores no nulls."""
    return bool(_without_nulls(before) == _without_nulls(after))


def _without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_without_nulls(inner) for inner in value]
    return value


def _merge(before: Any, after: Any) -> Any:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        return {**dict.fromkeys(before.keys() - after.keys()), **after}
    return after
