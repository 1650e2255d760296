"""The end of tasks, when whoever waits for it is stopped in that moment."""

import asyncio

import pytest

from headrace_worker.session import BREAKS
from headrace_worker.tasks import end


class Part:
    """What takes a moment to end, as a connection does."""

    def __init__(self, error: Exception | None = None) -> None:
        self.goes = asyncio.Event()
        self._error = error

    async def run(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await self.goes.wait()
            if self._error:
                raise self._error


async def ending(part: Part) -> asyncio.Task[None]:
    """A task that waits for the part's end, which has been cancelled."""
    running = asyncio.create_task(part.run())
    await asyncio.sleep(0)
    task = asyncio.create_task(end(running, expected=BREAKS))
    await asyncio.sleep(0)
    return task


async def test_a_stop_while_a_task_ends_is_not_forgotten() -> None:
    part = Part()
    task = await ending(part)
    task.cancel()
    part.goes.set()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("error", [None, ConnectionResetError("gone")])
async def test_what_is_expected_is_no_error(error: Exception | None) -> None:
    part = Part(error)
    task = await ending(part)
    part.goes.set()
    await task


async def test_a_fault_is_told() -> None:
    part = Part(ZeroDivisionError())
    task = await ending(part)
    part.goes.set()
    with pytest.raises(ZeroDivisionError):
        await task
