"""Whether this process may write, by its own clock alone: the local half of the fence between two operators.

The API server does not know who leads, so every write asks here first. A process that was stopped (SIGSTOP, a frozen
node, a suspended machine) finds, when it wakes, that its time is over before it has asked the API server anything.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

_NEVER = float("-inf")


def boot_clock() -> float:
    """Seconds that go on while the machine is suspended (CLOCK_BOOTTIME), whatever the date is set to."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Leadership:
    """Held until an instant that only a renewal moves on."""

    def __init__(self, clock: Callable[[], float] = boot_clock) -> None:
        self._clock = clock
        self._until = _NEVER
        self._changed = asyncio.Event()

    def may_write(self) -> bool:
        """Whether nobody else can be leading now."""
        return self._clock() < self._until

    def hold_until(self, instant: float) -> None:
        """Lead until `instant` on this object's clock; infinity where there is no election."""
        self._until = instant
        self._changed.set()

    def lose(self) -> None:
        """Lead no longer."""
        self.hold_until(_NEVER)

    async def while_leading(self, run: Callable[[], Awaitable[None]]) -> None:
        """Call `run` whenever this process begins to lead, and cancel it as soon as it does not; until cancelled.

        Returns, or raises, when `run` ends by itself.
        """
        while True:
            await self._begins()
            running = asyncio.ensure_future(run())
            ends = asyncio.ensure_future(self._ends())
            try:
                await asyncio.wait((running, ends), return_when=asyncio.FIRST_COMPLETED)
                if running.done():
                    return await running
            finally:
                running.cancel()
                ends.cancel()
                await asyncio.gather(running, ends, return_exceptions=True)

    async def _begins(self) -> None:
        while not self.may_write():
            self._changed.clear()
            await self._changed.wait()

    async def _ends(self) -> None:
        while self.may_write():
            self._changed.clear()
            rest = self._until - self._clock()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if rest == float("inf") else rest):
                    await self._changed.wait()
