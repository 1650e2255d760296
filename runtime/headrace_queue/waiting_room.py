"""Where requests wait for a worker: for how long, how many, and what those are told that cannot."""

from collections.abc import Callable

from headrace_queue import errors
from headrace_queue.clock import Clock
from headrace_queue.errors import ApiError
from headrace_queue.exchange import Call, Exchange
from headrace_queue.forecast import Forecast
from headrace_queue.limits import Limits
from headrace_queue.room import Room
from headrace_queue.schedule import Schedule
from headrace_queue.timeouts import Timeouts

_PLACES_SECONDS = 5
_MOST_KINDS = 64
"""Combinations of tags that may wait for one model: each is looked at in every decision."""


class WaitingRoom:
    """The exchanges that are held."""

    def __init__(self, schedule: Schedule, limits: Limits, clock: Clock, give_up: Callable[[Exchange], object]) -> None:
        self.room = Room(limits)
        self.forecast = Forecast()
        self._schedule = schedule
        self._places: dict[str, tuple[float, dict[int, int]]] = {}
        """By model: when they were looked up, and how many go before each ticket."""
        self._seconds = limits.hold_seconds
        self._clock = clock
        self._holds = Timeouts[Exchange](clock, limits.hold_seconds, give_up)

    def refusal(self, call: Call) -> ApiError | None:
        """What the client of a further request is told, if no worker takes it at once and it may not wait."""
        if call.deadline_s is not None and call.deadline_s <= 0:
            return errors.too_late(call.deadline_s)
        if not (full := self._full(call)) or self._schedule.free(call.model, call.needs):
            return None
        starting = [] if self._schedule.is_ready(call.model) else self._schedule.starting(call.model)
        return errors.saturated(full, starting, self._next_eta(call))

    def enter(self, exchange: Exchange) -> None:
        """It waits; nothing of this is done for what is handed out at once."""
        now = self._clock.now()
        exchange.held = True
        self.room.add(exchange.call)
        self._holds.add(exchange, now)
        if not self._schedule.serves(exchange.call.model):
            self.forecast.cold.hold(exchange.call.base, now)

    def leave(self, exchange: Exchange) -> None:
        """It waits no longer."""
        exchange.held = False
        self.room.remove(exchange.call)
        self._holds.discard(exchange)
        if self._places and not self._schedule.waiting_for(exchange.call.model):
            self._places.pop(exchange.call.model, None)

    def gave_up(self, exchange: Exchange) -> None:
        """It is over before it was served, and the schedule does not know it any more."""
        self.leave(exchange)
        call = exchange.call
        if not self._schedule.waiting_for(call.model):
            self._places.pop(call.model, None)
            self.forecast.cold.release(call.base, self._clock.now())

    def too_long(self, call: Call) -> ApiError:
        """What a client is told whose request has waited for as long as may be."""
        if self._schedule.offered(call.model, call.needs):
            return errors.no_room(call.model, self._seconds, self._next_eta(call))
        if self._schedule.is_ready(call.model):
            return errors.no_worker_with(call.model, self._seconds, call.needs)
        return errors.no_worker(call.model, self._seconds, self._schedule.starting(call.model), self._next_eta(call))

    def eta_of(self, exchange: Exchange) -> float | None:
        """The same of one that waits. Many ask for it, each for its own, so places are up to 5 s old."""
        call, now = exchange.call, self._clock.now()
        known = self._places.get(call.model)
        if known is None or now - known[0] > _PLACES_SECONDS:
            known = self._places[call.model] = now, self._schedule.positions(call.model)
        return self.eta(call, known[1].get(exchange.ticket, self._schedule.waiting_for(call.model)))

    def eta(self, call: Call, ahead: int) -> float | None:
        """Seconds until a request that so many others are before is begun; None where nothing is known."""
        ready = self._schedule.is_ready(call.model)
        return self.forecast.eta(call.base, ahead, self._clock.now(), ready=ready)

    def _next_eta(self, call: Call) -> float | None:
        return self.eta(call, self._schedule.waiting_for(call.model))

    def _full(self, call: Call) -> str | None:
        kinds = self._schedule.kinds(call.model, call.needs) if call.needs else 0
        return f"requests with {kinds} other tags wait for this model" if kinds >= _MOST_KINDS else self.room.full(call)
