"""What the page shows, as one JSON document. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from headrace_api.load import ModelLoad, ModelState
from headrace_queue.keys.viewer import Viewer
from headrace_queue.snapshot import WaitingView, WorkerView

MOST_WAITING = 200
"""Waiting requests that are listed; the numbers by model count all of them."""


@dataclass(frozen=True)
class Sight:
    """The queue at one moment."""

    replica: str
    """The id of the queue that looks."""
    now: float
    """On the dispatcher's clock, in seconds."""
    draining: bool
    load: Mapping[str, ModelLoad]
    states: Mapping[str, ModelState]
    """What operators say of their models."""
    completion_tokens: Mapping[str, float]
    """By model, since this queue began: of streams that are under way, about as many as they have given."""
    workers: Iterable[WorkerView]
    waiting: Iterable[WaitingView]
    """Those that are next first."""


def document(sight: Sight, viewer: Viewer) -> dict[str, Any]:
    """What a viewer gets to see."""
    load = {name: one for name, one in sorted(sight.load.items()) if viewer.may_use(name)}
    return {
        "replica": sight.replica,
        "draining": sight.draining,
        "chats": viewer.chats,
        "queued": sum(one.queued for one in load.values()),
        "running": sum(one.running for one in load.values()),
        "models": [
            _model(name, one, sight.states.get(name), sight.completion_tokens.get(name, 0.0))
            for name, one in load.items()
        ],
        "workers": [_worker(one, viewer) for one in sight.workers if _visible(one, viewer)],
        "waiting": _waiting(sight, viewer),
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
    return {
        "name": worker.name,
        "models": None if worker.models is None else sorted(filter(viewer.may_use, worker.models)),
        "state": "resting" if worker.resting else worker.state,
        "detail": f"given nothing after {worker.failures} failures" if worker.resting else worker.detail,
        "running": worker.running,
        "credits": worker.credits,
        "first_token_seconds": worker.first_token_s,
    }


def _waiting(sight: Sight, viewer: Viewer) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for one in sight.waiting:
        if len(found) == MOST_WAITING:
            break
        if viewer.may_use(one.model) and viewer.key in {None, one.key}:
            found.append(
                {
                    "request_id": one.request_id,
                    "model": one.model,
                    "key": one.key,
                    "position": one.position,
                    "waited_seconds": max(0.0, sight.now - one.since),
                    "eta_seconds": one.eta_s,
                }
            )
    return found
