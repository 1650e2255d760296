"""What waits and who works, at one moment: for people and metrics to look at. Nothing here changes anything."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headrace_api.wire import WorkerState

if TYPE_CHECKING:
    from headrace_queue.dispatch import Dispatcher


@dataclass(frozen=True)
class WaitingView:
    """A request without a worker."""

    request_id: str
    model: str
    key: str
    """The id of its client's key."""
    priority: int
    needs: tuple[str, ...]
    """What its worker must offer, in words."""
    position: int
    """How many for the same model and its adapters go before it, if nothing else comes."""
    since: float
    """When it came, on the dispatcher's clock."""
    eta_s: float | None
    """Seconds until it is begun, as far as can be foreseen; None where nothing is known."""


@dataclass(frozen=True)
class WorkerView:
    """A connected worker."""

    number: int
    name: str
    """What it calls itself; empty for one of the seed's protocol."""
    models: frozenset[str] | None
    """None for one that serves whatever it is sent."""
    loaded: str
    """The model that such a one was sent last."""
    state: WorkerState
    detail: str
    """What it says of its state, or what is amiss."""
    running: int
    """Requests that it has."""
    credits: int
    """How many more it takes now."""
    offers: tuple[str, ...]
    """Its tags and hostings, in words."""
    first_token_s: float | None
    """From a job to its first token, on average of late."""
    failures: int
    """In a row."""
    resting: bool
    """Whether it is given nothing, after failures."""


def waiting(dispatcher: "Dispatcher") -> Iterator[WaitingView]:
    """All that wait, those that are next of their models first; O(n log n)."""
    for position, entry in dispatcher.schedule.in_order():
        call = entry.call
        needs, eta_s = tuple(sorted(call.needs)), dispatcher.waiting_room.eta(call, position)
        yield WaitingView(call.request_id, call.model, call.key, call.priority, needs, position, entry.since, eta_s)


def workers(dispatcher: "Dispatcher") -> Iterator[WorkerView]:
    """All that are connected, in the order in which they came."""
    for one in dispatcher.schedule.workers.values():
        state: WorkerState = one.starting.state if one.starting else "draining" if one.draining else "ready"
        yield WorkerView(
            number=one.number,
            name=one.name,
            models=one.models,
            loaded=one.served,
            state=state,
            detail=one.starting.detail if one.starting else one.note,
            running=len(one.entries),
            credits=one.credits,
            offers=tuple(sorted(one.offers)),
            first_token_s=one.health.first_token_s,
            failures=one.health.failures,
            resting=one.health.resting,
        )


def expected_waits(dispatcher: "Dispatcher") -> dict[str, float]:
    """Seconds until the last that waits is begun, of each model for which anything waits and something is known."""
    found: dict[str, float] = {}
    for each in waiting(dispatcher):
        if each.eta_s is not None:
            found[each.model] = max(found.get(each.model, 0.0), each.eta_s)
    return found
