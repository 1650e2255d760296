"""What the queue has not acknowledged.

A result goes to the replica that gave the job while that one lives, else to any other: with the job's receipt each of
them can account for it.
"""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

import structlog

from headrace_api.wire import Result

_UNACKED_LIMIT = 10_000
ELSEWHERE_S = 5.0
"""How long a replica whose connection has ended is waited for; then another one gets what it did not acknowledge."""

Tell = Callable[[Result], None]

log = structlog.get_logger()


class _Owed(NamedTuple):
    result: Result
    home: str
    """Of the replica that it was told last."""


class Unacked:
    """Results that the queue has not acknowledged; outlives connections, as the queue's bookkeeping relies on it."""

    def __init__(self) -> None:
        self._owed: dict[str, _Owed] = {}
        self._here: dict[str, Tell] = {}
        """Replicas that are connected, by their homes."""
        self._waiting: dict[str, asyncio.TimerHandle] = {}
        self._hurried = False
        """Whether the worker stops, and waits for no replica any longer."""
        self.empty = asyncio.Event()
        self.empty.set()

    def add(self, result: Result, home: str) -> None:
        """Keep a result, at the cost of the oldest when there are more than a queue could reasonably owe.

        Args:
            result: the result.
            home: names the replica that is told.
        """
        self._owed[result.request_id] = _Owed(result, home)
        self.empty.clear()
        if len(self._owed) > _UNACKED_LIMIT:
            oldest = next(iter(self._owed))
            log.error("a result was never acknowledged and is given up", request_id=oldest, kept=_UNACKED_LIMIT)
            del self._owed[oldest]

    def acknowledge(self, request_id: str) -> None:
        """Forget a result that the queue has."""
        self._owed.pop(request_id, None)
        if not self._owed:
            self.empty.set()

    def arrive(self, home: str, tell: Tell) -> None:
        """A replica is connected: it is told what it has not acknowledged, and what nobody else is there for."""
        self._here[home] = tell
        if waiting := self._waiting.pop(home, None):
            waiting.cancel()
        orphans = {owed.home for owed in self._owed.values()} - self._here.keys() - self._waiting.keys()
        self._tell({home, *orphans}, home)

    def leave(self, home: str) -> None:
        """Its connection has ended; if it does not come back soon, another replica is told."""
        self._here.pop(home, None)
        if self._hurried:
            self._elsewhere(home)
        elif any(owed.home == home for owed in self._owed.values()):
            loop = asyncio.get_running_loop()
            self._waiting[home] = loop.call_later(ELSEWHERE_S, self._elsewhere, home)

    def hand_over(self) -> None:
        """Wait for no replica any longer, now and later: those that are here are told everything."""
        self._hurried = True
        for home in list(self._waiting):
            self._waiting[home].cancel()
            self._elsewhere(home)

    def _elsewhere(self, home: str) -> None:
        self._waiting.pop(home, None)
        if self._here:
            self._tell({home}, next(iter(self._here)))

    def _tell(self, of: set[str], home: str) -> None:
        for request_id, owed in list(self._owed.items()):
            if owed.home in of:
                self._owed[request_id] = _Owed(owed.result, home)
                self._here[home](owed.result)
