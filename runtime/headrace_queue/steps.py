"""Goes through waits one after the other, without a task: how a queue stops, driven by whatever clock there is."""

from collections.abc import Callable, Iterator

from headrace_queue.clock import Clock, Timer

Wait = tuple[Callable[[], bool], float]
"""Until when: a condition, and for how many seconds at most."""


class Steps:
    """Runs a generator of waits: its code before, between and after them is the steps; then `done` is called."""

    def __init__(self, clock: Clock, waits: Iterator[Wait], done: Callable[[], None]) -> None:
        self._clock = clock
        self._waits = waits
        self._done = done
        self._condition: Callable[[], bool] | None = None
        self._timer: Timer | None = None
        self._next()

    def look(self) -> None:
        """Something has changed. The next step comes later, never within the change that makes its condition true."""
        if self._condition is not None and self._condition():
            self._condition = None
            self._wait(0)

    def _wait(self, seconds: float) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = self._clock.call_later(seconds, self._next)

    def _next(self) -> None:
        self._condition = None
        wait = next(self._waits, None)
        if wait is None:
            self._done()
            return
        self._condition, seconds = wait
        self._wait(0 if self._condition() else seconds)
