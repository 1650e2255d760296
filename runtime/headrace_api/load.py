"""The connection between the operator and a queue: `GET /operator` on the queue's admin port, a WebSocket.

Level-triggered both ways: each message is the whole truth, the newest one counts. The operator sends a `Catalogue`
when it connects and when it changes, so that the queue holds requests for models that have no worker yet instead of
calling them unknown. The queue sends a `Load` when the operator connects and when a number changes.
"""

from collections.abc import Iterable, Mapping
from typing import Literal

from headrace_api.base import Message
from headrace_api.wire import WorkerState

OPERATOR_PATH = "/operator"
"""Where a queue accepts the operator, on its admin port."""
EVERY_REPLICA = "every-replica"
"""The query parameter of an operator that connects to each replica: one that drains keeps telling it of its load."""


class ModelState(Message):
    """What the operator says of a model: the condition `Ready` of its InferenceModel."""

    ready: bool
    reason: str = ""
    message: str = ""
    """Why, in a sentence, and what to do: the root cause where something is wrong."""


class Catalogue(Message):
    """The names of all models that there are, with workers or without."""

    type: Literal["catalogue"] = "catalogue"
    models: list[str]
    states: dict[str, ModelState] = {}
    """Of those of `models` that the operator has looked at; an adapter's is its model's."""


class Starting(Message):
    """How far a connected worker is that does not take requests yet: what its newest `wire.Report` says."""

    state: WorkerState
    detail: str = ""
    done_bytes: int | None = None
    total_bytes: int | None = None


class ModelLoad(Message):
    """How much one model has to do, now."""

    queued: int = 0
    """Requests that wait for a worker."""
    running: int = 0
    """Requests that a worker has."""
    workers: int = 0
    """Workers that are connected, ready, and take requests for the model."""
    starting: dict[str, Starting] = {}
    """Those that are connected but not ready yet, by the name that they registered with."""
    notes: dict[str, str] = {}
    """What workers that are ready say is amiss, by the name that they registered with: an adapter that they lack."""
    in_flight: dict[str, int] = {}
    """Requests that each connected worker has, by the name that it registered with (in a pod: the pod's name).

    Of whatever model, for a worker that serves several; workers without any are left out.
    """
    taken: int = 0
    """Requests taken in since the queue began to count: tells of those that came and went between two messages."""


class Load(Message):
    """The load of every model that the queue knows."""

    type: Literal["load"] = "load"
    models: dict[str, ModelLoad]
    replica: str = ""
    """The id of the queue's replica that tells it, as in `wire.Registered`."""


def summed(loads: Iterable[Mapping[str, ModelLoad]]) -> dict[str, ModelLoad]:
    """What several replicas of a queue tell, as one queue would tell it.

    A request is at one replica; a worker is with all of them.
    """
    found: dict[str, ModelLoad] = {}
    for load in loads:
        for name, one in load.items():
            found[name] = _both(found[name], one) if name in found else one
    return found


def _both(one: ModelLoad, other: ModelLoad) -> ModelLoad:
    workers = {*one.in_flight, *other.in_flight}
    return ModelLoad(
        queued=one.queued + other.queued,
        running=one.running + other.running,
        workers=max(one.workers, other.workers),
        starting={**one.starting, **other.starting},
        notes={**one.notes, **other.notes},
        in_flight={name: one.in_flight.get(name, 0) + other.in_flight.get(name, 0) for name in sorted(workers)},
        taken=one.taken + other.taken,
    )
