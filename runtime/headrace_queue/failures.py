"""Whose fault it is when a worker fails: its own, or that of a request which kills engines wherever it goes.

When an engine is lost, all that it had goes to other workers, and each of those requests has a strike. Before its last
attempt a request is under suspicion: from then on no worker gets more than one like it at a time. When an engine is
lost with a suspect, that is its fault alone: whatever else was there goes on without a strike.
"""

from collections.abc import Callable, Iterable
from functools import partial

from headrace_queue.clock import Clock
from headrace_queue.exchange import Exchange
from headrace_queue.schedule import Schedule
from headrace_queue.seats import Job, Seat

_SAME_DEATH_SECONDS = 5
"""What a worker hands back within so long after a suspect was lost with its engine, was lost with it."""


class Failures:
    """Strikes for requests, rests for workers."""

    def __init__(self, schedule: Schedule, clock: Clock, max_attempts: int, resume: Callable[[int], object]) -> None:
        self._schedule = schedule
        self._clock = clock
        self._max_attempts = max_attempts
        self._resume = resume
        """Called with a worker that has rested."""

    def die(self, exchanges: list[Exchange]) -> None:
        """A worker was lost with all of these; they wait again."""
        for exchange in [each for each in exchanges if each.suspect] or exchanges:
            self._strike(exchange)

    def lose_engine(self, seat: Seat, exchange: Exchange, others: Iterable[Job]) -> None:
        """A worker tells that its engine was lost with this one, which waits again; it may have others still."""
        now = self._clock.now()
        self.fail(seat.worker)
        if exchange.suspect:
            seat.culprit_at = now
            self._strike(exchange)
        elif not (self._is_solved(seat, now) or any(each.exchange.suspect and not each.abandoned for each in others)):
            self._strike(exchange)

    def judge(self, worker: int, *, is_well: bool) -> bool:
        """A worker has answered a request. Returns whether it may take more than it did: a probe is over."""
        if is_well:
            return self._schedule.succeed(worker)
        self.fail(worker)
        return self._schedule.workers[worker].health.probing

    def fail(self, worker: int) -> None:
        """A worker has failed a request."""
        seconds = self._schedule.fail(worker)
        if seconds is not None:
            self._clock.call_later(seconds, partial(self._wake, worker))

    def _wake(self, worker: int) -> None:
        self._schedule.try_again(worker)
        self._resume(worker)

    def _strike(self, exchange: Exchange) -> None:
        exchange.strikes += 1
        if 1 < self._max_attempts <= exchange.strikes + 1:
            exchange.suspect = True
            self._schedule.isolate(exchange.ticket)

    @staticmethod
    def _is_solved(seat: Seat, now: float) -> bool:
        return seat.culprit_at is not None and now - seat.culprit_at <= _SAME_DEATH_SECONDS
