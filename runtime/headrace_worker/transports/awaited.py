"""The two ways to follow an answer, each made of the other: being told of it (`Sink`), and awaiting it (`Answer`)."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

from headrace_worker.transports.protocol import Answer, Asking, EngineLostError, Sink

Start = Callable[[str, bytes, Sink], Asking]
Ask = Callable[[str, bytes], AbstractAsyncContextManager[Answer]]


class _Kept:
    """A sink that keeps what it is told until somebody awaits it."""

    def __init__(self) -> None:
        self.status = 0
        self.over = False
        self._why: str | None = None
        self._data: list[bytes] = []
        self._news = asyncio.Event()

    def begun(self, status: int, /) -> None:
        self.status = status
        self._news.set()

    def received(self, data: bytes, /) -> None:
        self._data.append(data)
        self._news.set()

    def ended(self) -> None:
        self.over = True
        self._news.set()

    def lost(self, why: str, /) -> None:
        self.over, self._why = True, why
        self._news.set()

    async def until_begun(self) -> None:
        while not self.status and not self.over:
            await self._changed()
        if not self.status:
            raise EngineLostError(self._why)

    async def received_all(self) -> AsyncIterator[bytes]:
        while self._data or not self.over:
            if self._data:
                data, self._data = b"".join(self._data), []
                yield data
            else:
                await self._changed()
        if self._why is not None:
            raise EngineLostError(self._why)

    async def _changed(self) -> None:
        self._news.clear()
        await self._news.wait()


class _Awaited:
    """See `Answer`."""

    def __init__(self, kept: _Kept) -> None:
        self.status = kept.status
        self.received = kept.received_all


class Said:
    """An answer that is known; see `Answer`."""

    def __init__(self, status: int, *data: bytes) -> None:
        self.status = status
        self._data = data

    async def received(self) -> AsyncIterator[bytes]:
        """See `Answer.received`."""
        for each in self._data:
            yield each


@contextlib.asynccontextmanager
async def asked(start: Start, path: str, body: bytes) -> AsyncIterator[Answer]:
    """`Transport.ask` by means of `Transport.start`."""
    kept = _Kept()
    asking = start(path, body, kept)
    try:
        await kept.until_begun()
        yield _Awaited(kept)
    finally:
        if not kept.over:
            asking.cancel()


class Pumped:
    """`Transport.start` by means of `Transport.ask`: a task that tells the sink. See `Asking`."""

    def __init__(self, ask: Ask, path: str, body: bytes, sink: Sink) -> None:
        self._sink = sink
        self._free = asyncio.Event()
        self._free.set()
        self._task = asyncio.create_task(self._pump(ask, path, body))

    def cancel(self) -> None:
        """See `Asking.cancel`."""
        self._task.cancel()

    def pause(self) -> None:
        """See `Asking.pause`."""
        self._free.clear()

    def resume(self) -> None:
        """See `Asking.resume`."""
        self._free.set()

    async def _pump(self, ask: Ask, path: str, body: bytes) -> None:
        try:
            async with ask(path, body) as answer:
                self._sink.begun(answer.status)
                async for data in answer.received():
                    self._sink.received(data)
                    await self._free.wait()
        except EngineLostError as error:
            self._sink.lost(str(error))
        else:
            self._sink.ended()
