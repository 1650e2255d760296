"""Puts what many jobs have to say into few WebSocket frames, in an order that the protocol allows."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from pydantic import BaseModel

from headrace_api.wire import encode_pieces

_HIGH_WATER_BYTES = 1 << 20
_LARGEST_PIECE_BYTES = 1 << 20
_PIECE_OVERHEAD_BYTES = 8
"""With the high water, these keep a frame below 3 MiB: a queue closes the connection over a frame that is too large."""


class Sender(Protocol):
    """The sending half of a WebSocket."""

    async def send_bytes(self, data: bytes, /) -> None:
        """Send a binary frame, waiting while the connection is full."""

    async def send_str(self, data: str, /) -> None:
        """Send a text frame, likewise."""


class Batcher:
    """Collects pieces and messages; `run` sends them.

    All pieces that are there when `run` gets its turn leave in one binary frame, and before the messages. So the pieces
    of a job come before its `Result` as long as they were added before it. `count` is told the size of each frame.
    """

    def __init__(self, sender: Sender, count: Callable[[int], None] = lambda _size: None) -> None:
        self._sender = sender
        self._count = count
        self._pieces: list[tuple[int, bytes]] = []
        self._messages: list[str] = []
        self._size = 0
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()
        self._emptied.set()

    def message(self, message: BaseModel) -> None:
        """Send a control message, after all pieces added so far."""
        self._messages.append(message.model_dump_json())
        self._fill(0)

    async def piece(self, job: int, data: bytes) -> None:
        """Send bytes of a job's answer; waits while much is unsent, so that a slow connection slows the engine."""
        for start in range(0, len(data), _LARGEST_PIECE_BYTES):
            while self._size > _HIGH_WATER_BYTES:
                await self._emptied.wait()
            part = data[start : start + _LARGEST_PIECE_BYTES]
            self._pieces.append((job, part))
            self._fill(len(part) + _PIECE_OVERHEAD_BYTES)

    async def flushed(self) -> None:
        """Wait until everything added so far has been handed to the connection."""
        await self._emptied.wait()

    async def run(self) -> None:
        """Send for ever; ends by cancellation or with the connection's error."""
        while True:
            await self._filled.wait()
            self._filled.clear()
            pieces, self._pieces = self._pieces, []
            messages, self._messages = self._messages, []
            size, self._size = self._size, 0
            if pieces:
                self._count(size)
                await self._sender.send_bytes(encode_pieces(pieces))
            for text in messages:
                await self._sender.send_str(text)
            if not self._filled.is_set():
                self._emptied.set()

    def _fill(self, size: int) -> None:
        self._size += size
        self._filled.set()
        self._emptied.clear()
