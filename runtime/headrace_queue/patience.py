"""Notices streams of which nothing comes, and that another worker could take."""

from collections.abc import Callable, Mapping

from headrace_queue.clock import Clock
from headrace_queue.limits import Limits
from headrace_queue.schedule import Schedule
from headrace_queue.seats import Job
from headrace_queue.timeouts import Timeouts

_FACTOR = 5
"""A first token may take so many times as long as the model's usually do, whatever the limit."""


class Patience:
    """The jobs whose first token is waited for."""

    def __init__(
        self, schedule: Schedule, clock: Clock, limits: Limits, jobs: Mapping[int, Job], move: Callable[[int], None]
    ) -> None:
        self._schedule = schedule
        self._clock = clock
        self._limits = limits
        self._jobs = jobs
        self._move = move
        """Called with a job whose request another worker takes at once."""
        self._silent = Timeouts[int](clock, limits.first_token_seconds, self._look)

    def add(self, job: int) -> None:
        """A worker gets it, of a stream: nothing else gives a sign before its end."""
        if self._limits.first_token_seconds:
            self._silent.add(job, self._jobs[job].given_at)

    def discard(self, job: int) -> None:
        """Something has come, or nothing will."""
        self._silent.discard(job)

    def began(self, job: int) -> None:
        """The first bytes of a worker's answer are there."""
        given, now = self._jobs[job], self._clock.now()
        given.begun = True
        given.exchange.note_first_byte(now)
        if given.exchange.call.stream:
            self._silent.discard(job)
            self._schedule.began(given.worker, now - given.given_at)

    def _look(self, job: int) -> None:
        given = self._jobs.get(job)
        if given is None or given.exchange.over:
            return
        usual = self._schedule.usual_first_token(given.worker)
        now = self._clock.now()
        is_late = usual is None or now - given.given_at >= _FACTOR * usual
        is_last = given.exchange.strikes + 1 >= self._limits.max_attempts
        if is_late and not is_last and self._schedule.has_other(given.exchange.ticket):
            self._move(job)
        else:
            self._silent.add(job, now)
