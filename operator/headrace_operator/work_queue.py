"""A queue of models to reconcile: each at most once in the queue and in one hand at a time, failures tried again later.

The same idea as client-go's rate-limited work queue: what is added while it is being worked on is worked on again. Two
things are added: keys that wait for a calm moment, and a pause of all hands while the API server cannot serve any.
"""

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

import structlog

K = TypeVar("K", bound=Hashable)

_FIRST_RETRY_SECONDS = 0.5
_LAST_RETRY_SECONDS = 60.0
_FIRST_PAUSE_SECONDS = 0.25
_LAST_PAUSE_SECONDS = 2.0
"""An API server that is back is noticed within this."""
_LONGEST_REST_SECONDS = 30.0
"""However long it asks to be left alone: all models wait for it."""

_log = structlog.get_logger()


class Unavailable(Exception):  # noqa: N818
    """The API server serves nobody now: it is away, or asks for fewer requests. Not the fault of the key."""

    def __init__(self, message: str, seconds: float | None = None) -> None:
        super().__init__(message)
        self.seconds = seconds
        """How long it asks to be left alone (`Retry-After`); None: it does not say."""


class Observer(Generic[K]):
    """Is told what the queue does; this one does nothing of it."""

    def added(self, key: K) -> None:
        """The key waits."""

    def dropped(self, key: K) -> None:
        """The key waits no more, and is not worked on."""

    def began(self, key: K) -> None:
        """It is worked on, in this task, until it has ended."""

    def ended(self, key: K, failure: BaseException | None) -> None:
        """The work is done, or failed and is tried again later."""


class WorkQueue(Generic[K]):
    """Calls `work(key)` for every key that is added, with at most `hands` calls at a time."""

    def __init__(
        self, work: Callable[[K], Awaitable[None]], hands: int = 8, observer: Observer[K] | None = None
    ) -> None:
        self._work = work
        self._hands = hands
        self._observer = observer or Observer()
        self._ready: deque[K] = deque()
        self._waiting: set[K] = set()
        self._busy: set[K] = set()
        self._again: set[K] = set()
        self._failures: dict[K, int] = {}
        self._calm: dict[K, float] = {}
        self._in_calm: set[K] = set()
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._more = asyncio.Event()
        self._pauses = 0
        self._paused_until = 0.0
        self._open = True

    def __len__(self) -> int:
        """Keys that wait."""
        return len(self._waiting)

    def close(self) -> None:
        """Forget what waits, and take nothing until `open`: for a replica that does not work now. Not while it runs."""
        self._open = False
        for key in self._waiting:
            self._observer.dropped(key)
        for timer in self._timers.values():
            timer.cancel()
        for kept in (self._ready, self._waiting, self._again, self._failures, self._calm, self._timers):
            kept.clear()

    def open(self) -> None:
        """Take keys again; all that there is to do has to be added, too."""
        self._open = True

    def add(self, key: K) -> None:
        """Have `key` worked on soon, or once more when it is being worked on now."""
        if not self._open:
            return
        if key in self._busy:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting.add(key)
            self._observer.added(key)
            self._ready.append(key)
            self._more.set()

    def add_after(self, key: K, seconds: float) -> None:
        """Have `key` worked on after so long; of several such wishes for one key the earliest counts."""
        loop = asyncio.get_running_loop()
        if (timer := self._timers.get(key)) and timer.when() <= loop.time() + seconds:
            return
        if timer:
            timer.cancel()
        self._timers[key] = loop.call_later(seconds, self._due, key)

    def postpone(self, key: K, seconds: float) -> bool:
        """Ask, while `key` is worked on, for a turn in a calm moment: later than `seconds`, when nothing else waits.

        Returns False when this is that turn: what can wait need wait no longer.
        """
        if key in self._in_calm:
            return False
        self._calm.setdefault(key, asyncio.get_running_loop().time() + seconds)
        self._more.set()
        return True

    async def run(self) -> None:
        """Work until cancelled; what is in hand then waits for the next run."""
        free = asyncio.Semaphore(self._hands)
        async with asyncio.TaskGroup() as group:
            while True:
                await free.acquire()
                group.create_task(self._turn(await self._next(), free))

    async def _next(self) -> K:
        """The key to work on, now marked as busy."""
        loop = asyncio.get_running_loop()
        while True:
            if (rest := self._paused_until - loop.time()) > 0:
                await asyncio.sleep(rest)
            elif self._ready:
                key = self._ready.popleft()
                self._waiting.discard(key)
                break
            elif (calm := self._next_calm(loop.time())) is not None:
                key = calm
                break
            else:
                await self._change(loop.time())
        self._busy.add(key)
        return key

    def _next_calm(self, now: float) -> K | None:
        due = (key for key, when in self._calm.items() if when <= now and key not in self._busy)
        key = next(due, None)
        if key is not None:
            del self._calm[key]
            self._in_calm.add(key)
        return key

    async def _change(self, now: float) -> None:
        """Wait for a key, or until one of those that wait for a calm moment is due."""
        self._more.clear()
        due = [when for key, when in self._calm.items() if key not in self._busy]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(min(due) - now, 0.0) if due else None):
                await self._more.wait()

    async def _turn(self, key: K, free: asyncio.Semaphore) -> None:
        failure: BaseException | None = None
        self._observer.began(key)
        try:
            await self._work(key)
        except asyncio.CancelledError as error:
            failure = error
            self._again.add(key)
            raise
        except Unavailable as error:
            failure = error
            self._pause(error)
            self._again.add(key)
        except Exception as error:  # noqa: BLE001  # any failure is tried again; the loop must not die of it
            failure = error
            self._later(key, error)
        else:
            self._failures.pop(key, None)
            self._pauses = 0
        finally:
            self._observer.ended(key, failure)
            self._busy.discard(key)
            self._in_calm.discard(key)
            free.release()
            if key in self._again:
                self._again.discard(key)
                self.add(key)
            self._more.set()

    def _due(self, key: K) -> None:
        self._timers.pop(key, None)
        self.add(key)

    def _later(self, key: K, error: Exception) -> None:
        count = self._failures.get(key, 0)
        self._failures[key] = count + 1
        delay = _jittered(min(_LAST_RETRY_SECONDS, _FIRST_RETRY_SECONDS * 2.0**count))
        _log.warning("reconcile failed, trying again", seconds=round(delay, 1), error=repr(error)[:500])
        self.add_after(key, delay)

    def _pause(self, error: Unavailable) -> None:
        """Let all keys wait: each hand that trying again would burden the API server once more."""
        now = asyncio.get_running_loop().time()
        if now < self._paused_until:
            return
        ceiling = min(_LAST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2.0 ** min(self._pauses, 10))
        self._pauses += 1
        delay = min(error.seconds or 0.0, _LONGEST_REST_SECONDS) + _jittered(ceiling)
        self._paused_until = now + delay
        _log.warning("the API server is not available, pausing", seconds=round(delay, 1), error=str(error)[:300])


def _jittered(ceiling: float) -> float:
    return ceiling * random.uniform(0.5, 1.0)  # noqa: S311  # jitter, not a secret
