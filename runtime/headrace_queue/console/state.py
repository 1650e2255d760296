"""What the page shows, as one JSON document. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from headrace_api.load import ModelLoad, ModelState
from headrace_queue.access import Viewer

MOST_WAITING = 200
"""Waiting requests that are listed; the numbers by model count all of them."""


@dataclass(frozen=True)
class WorkerView:
    """A connected worker."""

    name: str
    models: tuple[str, ...] | None
    """None for a generalist."""
    state: str
    detail: str
    running: int
    credits: int
    """How many more requests it takes now."""


@dataclass(frozen=True)
class WaitingView:
    """A request without a worker."""

    request_id: str
    model: str
    key: str
    waited_seconds: float
    eta_seconds: float | None
    """When a worker will likely begin with it; None where nothing is known of that."""


class Source(Protocol):
    """Where it comes from."""

    @property
    def draining(self) -> bool:
        """Whether this queue stops."""

    def load(self) -> Mapping[str, ModelLoad]:
        """What every known model has to do."""

    def states(self) -> Mapping[str, ModelState]:
        """What operators say of their models."""

    def completion_tokens(self, model: str) -> float:
        """Of all its requests since this queue began."""

    def workers(self) -> Iterable[WorkerView]:
        """All that are connected."""

    def waiting(self) -> Iterable[WaitingView]:
        """All that wait, those that are next first."""


def document(source: Source, viewer: Viewer) -> dict[str, Any]:
    """What a viewer gets to see."""
    load = {name: one for name, one in sorted(source.load().items()) if viewer.may_use(name)}
    states = source.states()
    return {
        "draining": source.draining,
        "queued": sum(one.queued for one in load.values()),
        "running": sum(one.running for one in load.values()),
        "models": [_model(name, one, states.get(name), source.completion_tokens(name)) for name, one in load.items()],
        "workers": [_worker(one, viewer) for one in source.workers() if _visible(one, viewer)],
        "waiting": _waiting(source.waiting(), viewer),
    }


def _model(name: str, load: ModelLoad, state: ModelState | None, completion_tokens: float) -> dict[str, Any]:
    ready = state.ready if state else load.workers > 0
    return {
        "name": name,
        "ready": ready,
        "reason": state.reason if state else ("WorkersReady" if ready else "NoWorker"),
        "message": "; ".join(filter(None, (state.message if state and not ready else "", *_starting(load)))),
        "queued": load.queued,
        "running": load.running,
        "workers": load.workers,
        "completion_tokens": completion_tokens,
    }


def _starting(load: ModelLoad) -> Iterable[str]:
    for worker, one in sorted(load.starting.items()):
        share = f" {100 * one.done_bytes // one.total_bytes} %" if one.done_bytes and one.total_bytes else ""
        yield f"{worker} is {one.state}{share}{': ' if one.detail else ''}{one.detail}"


def _visible(worker: WorkerView, viewer: Viewer) -> bool:
    return worker.models is None or any(map(viewer.may_use, worker.models))


def _worker(worker: WorkerView, viewer: Viewer) -> dict[str, Any]:
    models = None if worker.models is None else [name for name in worker.models if viewer.may_use(name)]
    return {**vars(worker), "models": models}


def _waiting(waiting: Iterable[WaitingView], viewer: Viewer) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for one in waiting:
        if len(found) == MOST_WAITING:
            break
        if viewer.may_use(one.model) and (viewer.sees_all_keys or one.key == viewer.key):
            found.append(vars(one))
    return found
