"""A queue of models to reconcile: each at most once in the queue and in one hand at a time, failures tried again later.

The same idea as client-go's rate-limited work queue: what is added while it is being worked on is worked on again.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

import structlog

K = TypeVar("K", bound=Hashable)

HANDS = 8
"""Models that are worked on at a time."""
_FIRST_RETRY_SECONDS = 0.5
_LAST_RETRY_SECONDS = 60.0

_log = structlog.get_logger()


class Observer(Generic[K]):
    """Is told what the queue does; this one does nothing of it."""

    def added(self, key: K) -> None:
        """The key waits."""

    def began(self, key: K) -> None:
        """It is worked on, in this task, until it has ended."""

    def ended(self, key: K, error: Exception | None) -> None:
        """The work is done, or failed and is tried again later."""


class WorkQueue(Generic[K]):
    """Calls `work(key)` for every key that is added, with at most `hands` calls at a time."""

    def __init__(
        self, work: Callable[[K], Awaitable[None]], hands: int = HANDS, observer: Observer[K] | None = None
    ) -> None:
        self._work = work
        self._hands = hands
        self._observer = observer or Observer()
        self._ready: asyncio.Queue[K] = asyncio.Queue()
        self._waiting: set[K] = set()
        self._busy: set[K] = set()
        self._again: set[K] = set()
        self._failures: dict[K, int] = {}

    def __len__(self) -> int:
        """Keys that wait."""
        return len(self._waiting)

    def add(self, key: K) -> None:
        """Have `key` worked on soon, or once more when it is being worked on now."""
        if key in self._busy:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting.add(key)
            self._observer.added(key)
            self._ready.put_nowait(key)

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._hands):
                group.create_task(self._hand())

    async def _hand(self) -> None:
        while True:
            key = await self._ready.get()
            self._waiting.discard(key)
            self._busy.add(key)
            self._observer.began(key)
            failure = await self._attempt(key)
            self._observer.ended(key, failure)
            self._busy.discard(key)
            if key in self._again:
                self._again.discard(key)
                self.add(key)

    async def _attempt(self, key: K) -> Exception | None:
        try:
            await self._work(key)
        except Exception as error:  # noqa: BLE001  # any failure is tried again; the loop must not die of it
            self._later(key, error)
            return error
        self._failures.pop(key, None)
        return None

    def _later(self, key: K, error: Exception) -> None:
        count = self._failures.get(key, 0)
        self._failures[key] = count + 1
        ceiling = min(_LAST_RETRY_SECONDS, _FIRST_RETRY_SECONDS * 2.0**count)
        delay = ceiling * random.uniform(0.5, 1.0)  # noqa: S311  # jitter, not a secret
        _log.warning("reconcile failed, trying again", seconds=round(delay, 1), error=repr(error)[:500])
        asyncio.get_running_loop().call_later(delay, self.add, key)
