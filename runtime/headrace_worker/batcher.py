"""Puts what many jobs have to say into few WebSocket frames, in an order that the protocol allows."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Protocol

from headrace_api.pieces import encode_pieces
from headrace_api.wire import Register, WorkerMessage, encode_messages, encoded

_HIGH_WATER_BYTES = 1 << 20
_LARGEST_PIECE_BYTES = 1 << 20
_PIECE_OVERHEAD_BYTES = 8
"""With the largest piece this keeps a frame below 3 MiB: a queue closes the connection over a frame that is too large.
"""
_LARGEST_FRAME_BYTES = 1 << 20
_SPACE_PER_JOB_S = 10e-6
_LONGEST_SPACE_S = 1e-3
"""Between two frames, so that more pieces share one; with few jobs there is nobody to share it with."""


class Sender(Protocol):
    """The sending half of a WebSocket."""

    async def send_bytes(self, data: bytes, /) -> None:
        """Send a binary frame, waiting while the connection is full."""

    async def send_str(self, data: str, /) -> None:
        """Send a text frame, likewise."""


class Batcher:
    """Collects pieces and messages; `run` sends them.

    All pieces that are there when `run` gets its turn leave in one binary frame, and before the messages, which share a
    text frame. So the pieces of a job come before its `Result` as long as they were added before it.
    """

    def __init__(
        self,
        sender: Sender,
        count: Callable[[int], None] = lambda _size: None,
        last_words: Callable[[], None] = lambda: None,
        jobs: Callable[[], int] = lambda: 0,
    ) -> None:
        """`count` is told the size of each frame, `last_words` may add messages to it; `jobs` are under way."""
        self._sender = sender
        self._count = count
        self._last_words = last_words
        self._jobs = jobs
        self._pieces: list[tuple[int, bytes]] = []
        self._messages: list[str] = []
        self._size = 0
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()
        self._emptied.set()
        self._waiting: list[Callable[[], None]] = []

    @property
    def full(self) -> bool:
        """Whether so much is unsent that the engine must be slowed, as the connection is slow; see `when_emptied`."""
        return self._size > _HIGH_WATER_BYTES

    def when_emptied(self, callback: Callable[[], None]) -> None:
        """Have `callback` called once everything has been handed to the connection."""
        self._waiting.append(callback)

    def message(self, message: Register | WorkerMessage) -> None:
        """Send a control message, after all pieces added so far."""
        self._messages.append(encoded(message))
        self.wake()

    def piece(self, job: int, data: bytes) -> None:
        """Send bytes of a job's answer."""
        if len(data) > _LARGEST_PIECE_BYTES:
            parts = range(0, len(data), _LARGEST_PIECE_BYTES)
            self._pieces += [(job, data[start : start + _LARGEST_PIECE_BYTES]) for start in parts]
        else:
            self._pieces.append((job, data))
        self._size += len(data) + _PIECE_OVERHEAD_BYTES
        self.wake()

    def wake(self) -> None:
        """Have `last_words` asked and everything sent."""
        if not self._filled.is_set():
            self._filled.set()
            self._emptied.clear()

    async def flushed(self) -> None:
        """Wait until everything added so far has been handed to the connection."""
        await self._emptied.wait()

    async def run(self) -> None:
        """Send for ever; ends by cancellation or with the connection's error."""
        while True:
            await self._filled.wait()
            await self._send()
            if not self._filled.is_set():
                self._emptied.set()
                self._go_on()
            await asyncio.sleep(min(_SPACE_PER_JOB_S * self._jobs(), _LONGEST_SPACE_S))

    async def _send(self) -> None:
        self._last_words()
        self._filled.clear()
        pieces, self._pieces = self._pieces, []
        messages, self._messages = self._messages, []
        size, self._size = self._size, 0
        if size:
            self._count(size)
        for frame in _frames(pieces, size):
            await self._sender.send_bytes(encode_pieces(frame))
        for text in encode_messages(messages):
            await self._sender.send_str(text)

    def _go_on(self) -> None:
        waiting, self._waiting = self._waiting, []
        for callback in waiting:
            callback()


def _frames(pieces: list[tuple[int, bytes]], size: int) -> Iterator[list[tuple[int, bytes]]]:
    if pieces and size <= _LARGEST_FRAME_BYTES:
        yield pieces
        return
    frame: list[tuple[int, bytes]] = []
    size = 0
    for piece in pieces:
        frame.append(piece)
        size += len(piece[1])
        if size > _LARGEST_FRAME_BYTES:
            yield frame
            frame, size = [], 0
    if frame:
        yield frame
