"""Threads that move bytes from connections into files.

Not an executor of Python's: its threads are waited for when the process ends, and one of these may be waiting for a
server that is silent.
"""

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")
_SETTLE_S = 1.0


class StoppedError(Exception):
    """Nobody wants it any more."""


class Threads:
    """So many of them, until `close`."""

    def __init__(self, number: int) -> None:
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._all = [threading.Thread(target=self._run, name=f"store-{n}", daemon=True) for n in range(number)]
        for thread in self._all:
            thread.start()

    async def run(self, call: Callable[[], _T]) -> _T:
        """Call it in one of them. Who is cancelled does not wait for its end; see `check`."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[_T] = loop.create_future()

        def work() -> None:
            try:
                result = call()
            except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
                self._tell(loop, done, error=error)
            else:
                self._tell(loop, done, result)

        self._work.put(work)
        return await done

    def check(self) -> None:
        """To be called between two steps.

        Raises:
            StoppedError: they are to end.
        """
        if self._stopped.is_set():
            raise StoppedError

    async def close(self) -> None:
        """Have them end, and wait a moment for those that are not waiting for a server themselves."""
        self._stopped.set()
        for _ in self._all:
            self._work.put(None)
        until = time.monotonic() + _SETTLE_S
        while any(thread.is_alive() for thread in self._all) and time.monotonic() < until:  # noqa: ASYNC110
            await asyncio.sleep(0.005)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            if not self._stopped.is_set():
                work()

    @staticmethod
    def _tell(
        loop: asyncio.AbstractEventLoop,
        done: "asyncio.Future[_T]",
        result: _T | None = None,
        error: BaseException | None = None,
    ) -> None:
        def tell() -> None:
            if done.cancelled():
                return
            if error:
                done.set_exception(error)
            else:
                done.set_result(result)  # type: ignore[arg-type]

        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(tell)
