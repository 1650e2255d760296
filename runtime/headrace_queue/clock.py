"""Time from outside: the dispatcher never looks at a clock of its own, so that a simulator can be its clock.

The program hands in `LoopClock`, the running event loop's. Whatever is timed in the queue's core counts seconds on this
clock, which has no meaning apart from differences.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    """Something that will be called."""

    def cancel(self) -> None:
        """Do not call it; nothing happens if it has been called, or is cancelled already."""


class Clock(Protocol):
    """What time it is, and calls at a later time. No two calls ever overlap."""

    def now(self) -> float:
        """Seconds since some moment; never less than before."""

    def call_later(self, seconds: float, callback: Callable[[], object], /) -> Timer:
        """Call it once, after so long, and never before this call has returned."""


class LoopClock:
    """The clock of the event loop that runs where it is made.

    It keeps that loop, as whoever is told time often should: asking which one runs is a system call up to Python 3.11.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    def now(self) -> float:
        """The loop's time."""
        return self._loop.time()

    def call_later(self, seconds: float, callback: Callable[[], object], /) -> Timer:
        """A timer of the loop."""
        return self._loop.call_later(seconds, callback)
