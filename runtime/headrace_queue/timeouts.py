"""Ends things that take longer than they may, with one timer for any number of them."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from headrace_queue.clock import Clock

_T = TypeVar("_T", bound=Hashable)


class Timeouts(Generic[_T]):
    """Things that all have the same time, so that the first that came is the first that is over."""

    def __init__(self, clock: Clock, seconds: float, expire: Callable[[_T], object]) -> None:
        self._clock = clock
        self._seconds = seconds
        self._expire = expire
        self._due: OrderedDict[_T, float] = OrderedDict()
        self._armed = False

    def add(self, item: _T, now: float) -> None:
        """Its time begins now; it must not be here already."""
        self._due[item] = now + self._seconds
        if not self._armed:
            self._arm()

    def discard(self, item: _T) -> None:
        """It is done."""
        self._due.pop(item, None)

    def _arm(self) -> None:
        if self._due:
            self._armed = True
            self._clock.call_later(max(0.0, next(iter(self._due.values())) - self._clock.now()), self._look)

    def _look(self) -> None:
        self._armed = False
        now = self._clock.now()
        while self._due and next(iter(self._due.values())) <= now:
            self._expire(self._due.popitem(last=False)[0])
        if not self._armed:  # as `expire` may have added the next one
            self._arm()
