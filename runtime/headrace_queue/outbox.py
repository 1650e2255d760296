"""Sends messages over a WebSocket in order, for code that cannot wait."""

import asyncio
from typing import Self

from aiohttp import WSCloseCode, web

_CLOSE_SECONDS = 5


class Outbox:
    """Messages that wait to be sent, and the task that sends them; use it as an async context manager."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self._socket = socket
        self._messages: asyncio.Queue[str | tuple[int, str]] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    def put(self, message: str) -> None:
        """Send a text frame after those before it."""
        self._messages.put_nowait(message)

    def close(self, code: int, reason: str) -> None:
        """Close the connection after the messages before it."""
        self._messages.put_nowait((code, reason))

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
        while True:
            message = await self._messages.get()
            try:
                if isinstance(message, str):
                    await self._socket.send_str(message)
                else:
                    await close(self._socket, *message)
                    return
            except ConnectionError:
                return  # the reader of this connection notices, too


async def close(socket: web.WebSocketResponse, code: int = WSCloseCode.GOING_AWAY, reason: str = "") -> None:
    """Close with a reason, cut to the 123 bytes that a close frame holds."""
    await socket.close(code=code, message=reason.encode()[:123].decode(errors="ignore").encode())
