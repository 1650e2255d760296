"""A worker's connection that is made of HTTP requests: to its session it looks like a WebSocket (`outbox.Socket`)."""

import asyncio
from collections.abc import AsyncIterator

from aiohttp import WSCloseCode, WSMessage, WSMsgType

from headrace_api.wire_poll import TEXT, PollEnd, decode_frames, encode_frames

_FULL_BYTES = 4 << 20
_LAST_FETCH_SECONDS = 2
"""So long what was said before the end can still be fetched."""
_END = WSMessage(WSMsgType.CLOSED, None, None)


class NumberError(ValueError):
    """A request has a number that is neither the last one nor the next."""


class Pipe:
    """The frames of one session, in both directions."""

    def __init__(self) -> None:
        self._in: asyncio.Queue[WSMessage] = asyncio.Queue()
        self._received = 0
        self._out: list[tuple[int, bytes]] = []
        self._size = 0
        self._fetched = 0
        self._last = b""
        self._news = asyncio.Event()
        self._taken = asyncio.Event()
        self.end: PollEnd | None = None

    # ---- for the requests

    def push(self, number: int, body: bytes) -> None:
        """Take in what the worker sent; the same number again changes nothing.

        Raises:
            ValueError: the body holds no frames, or the number is wrong.
        """
        if self._received > 0 and number == self._received:
            return
        if number != self._received + 1:
            raise NumberError(f"send/{number}: the next number is {self._received + 1}")
        frames = [_message(kind, data) for kind, data in decode_frames(body)]  # all, before any of them counts
        self._received = number
        for frame in frames:
            self._in.put_nowait(frame)

    async def fetch(self, number: int, seconds: float) -> bytes | None:
        """What is to be sent, as soon as there is something, or nothing after so long; None once all has ended.

        Raises:
            NumberError: the number is wrong.
        """
        if number == self._fetched + 1:
            await self._until_news(seconds)
        if number == self._fetched + 1:
            if not self._out and self.end is not None:
                return None
            self._take()
        elif number != self._fetched or not number:
            raise NumberError(f"fetch/{number}: the next number is {self._fetched + 1}")
        return self._last

    def lose(self) -> None:
        """The worker is gone."""
        self._finish(PollEnd(code=WSCloseCode.ABNORMAL_CLOSURE, reason="the worker has not been heard of"))

    async def _until_news(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                while not self._out and self.end is None:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return

    def _take(self) -> None:
        frames, self._out, self._size = self._out, [], 0
        self._fetched += 1
        self._last = encode_frames(frames)
        self._taken.set()

    def _finish(self, end: PollEnd) -> None:
        if self.end is None:
            self.end = end
            self._in.put_nowait(_END)
            self._news.set()
            self._taken.set()

    # ---- for the session

    @property
    def close_code(self) -> int | None:
        """See `Socket`."""
        return self.end.code if self.end else None

    async def send_str(self, data: str, /) -> None:
        """See `Socket`; waits while much has not been fetched."""
        while self._size > _FULL_BYTES and self.end is None:
            self._taken.clear()
            await self._taken.wait()
        if self.end is not None:
            raise ConnectionResetError("the session has ended")
        frame = data.encode()
        self._out.append((TEXT, frame))
        self._size += len(frame)
        self._news.set()

    async def receive(self, timeout: float | None = None) -> WSMessage:  # noqa: ASYNC109 (as aiohttp has it)
        """See `Socket`."""
        async with asyncio.timeout(timeout):
            return await self._in.get()

    async def __aiter__(self) -> AsyncIterator[WSMessage]:
        """See `Socket`."""
        while (frame := await self._in.get()) is not _END:
            yield frame

    async def close(self, *, code: int, message: bytes) -> bool:
        """See `Socket`; what was said before can still be fetched."""
        self._finish(PollEnd(code=code, reason=message.decode(errors="replace")))
        try:
            async with asyncio.timeout(_LAST_FETCH_SECONDS):
                while self._out:
                    self._taken.clear()
                    await self._taken.wait()
        except TimeoutError:
            return False
        return True


def _message(kind: int, data: bytes) -> WSMessage:
    return WSMessage(WSMsgType.TEXT, data.decode(), None) if kind == TEXT else WSMessage(WSMsgType.BINARY, data, None)
