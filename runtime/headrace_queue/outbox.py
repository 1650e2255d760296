"""Sends messages over a WebSocket in order, for code that cannot wait."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Protocol, Self

from aiohttp import WSCloseCode, WSMessage

_CLOSE_SECONDS = 5


class Socket(Protocol):
    """A worker's connection, as aiohttp's WebSockets are, and the long poll."""

    @property
    def close_code(self) -> int | None:
        """Why it was closed; None while it is open."""

    async def send_str(self, data: str, /) -> None:
        """Send a text frame; raises `ConnectionError` where the other side is gone."""

    async def receive(self, timeout: float | None = None) -> WSMessage:  # noqa: ASYNC109 (it is aiohttp's)
        """The next frame, or how the connection ended; raises `TimeoutError`."""

    def __aiter__(self) -> AsyncIterator[WSMessage]:
        """The frames until the connection ends."""

    async def close(self, *, code: int, message: bytes) -> bool:
        """Close it."""


class Outbox:
    """Messages that wait to be sent, and the task that sends them; use it as an async context manager.

    `frames` makes the text frames of the messages that wait: one each, unless the protocol lets them share one.
    """

    def __init__(self, socket: Socket, frames: Callable[[list[str]], Iterable[str]] = iter) -> None:
        self._socket = socket
        self._frames = frames
        self._messages: list[str] = []
        self._end: tuple[int, str] | None = None
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def put(self, message: str) -> None:
        """Send a message after those before it."""
        if self._end is None:
            self._messages.append(message)
            self._news.set()

    def close(self, code: int, reason: str) -> None:
        """Close the connection after the messages before it."""
        self._end = self._end or (code, reason)
        self._news.set()

    async def close_and_wait(self, code: int, reason: str) -> None:
        """The same, and wait until the other side has everything."""
        self.close(code, reason)
        if self._task:
            await asyncio.wait([self._task], timeout=_CLOSE_SECONDS)

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._send_all())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _send_all(self) -> None:
        try:
            while self._messages or self._end is None:
                self._news.clear()
                messages, self._messages = self._messages, []
                for frame in self._frames(messages):
                    await self._socket.send_str(frame)
                if not self._messages and self._end is None:
                    await self._news.wait()
            await close(self._socket, *self._end)
        except ConnectionError:
            return  # the reader of this connection notices, too


async def close(socket: Socket, code: int = WSCloseCode.GOING_AWAY, reason: str = "") -> None:
    """Close with a reason, cut to the 123 bytes that a close frame holds."""
    await socket.close(code=code, message=reason.encode()[:123].decode(errors="ignore").encode())
