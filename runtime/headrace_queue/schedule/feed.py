"""What the operator is told of workers, by model and by the name that they registered with."""

from collections.abc import Iterable

from headrace_api.load import Starting
from headrace_queue.schedule.worker import Worker


def in_flight(workers: Iterable[Worker]) -> dict[str, dict[str, int]]:
    """Requests per dedicated worker that has any; also of those that drain."""
    found: dict[str, dict[str, int]] = {}
    for one in workers:
        for model in one.models or () if one.entries else ():
            names = found.setdefault(model, {})
            names[one.name] = names.get(one.name, 0) + len(one.entries)
    return found


def starting(workers: Iterable[Worker]) -> dict[str, dict[str, Starting]]:
    """How far those are that are not ready; one that has failed says why, also while it drains."""
    found: dict[str, dict[str, Starting]] = {}
    for one in workers:
        if one.starting and (one.starting.state == "failed" or not one.draining):
            for model in one.models or ():
                found.setdefault(model, {})[one.name] = one.starting
    return found


def notes(workers: Iterable[Worker]) -> dict[str, dict[str, str]]:
    """What is amiss with those that are ready."""
    found: dict[str, dict[str, str]] = {}
    for one in workers:
        if one.note and not one.draining:
            for model in one.models or ():
                found.setdefault(model, {})[one.name] = one.note
    return found
