"""WebSockets in memory, as unkind as a network may be: late, stalled, full, cut, and each end told at its own time.

Within one direction of one connection frames stay in order, as TCP has them; between connections there is no order.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from random import Random
from typing import Self

from aiohttp import WSMessage, WSMsgType

from tests.simulation.loop import Process

_CLOSE_S = 2.0
_FULL_BYTES = 4096
"""Of one direction: its sender waits then."""

Spy = Callable[[str, WSMessage], None]
"""Told what an end `sends` and `gets`."""


class Pipe:
    """One direction: what has been sent and has not arrived."""

    def __init__(self, rng: Random, slowness: float) -> None:
        self._rng = rng
        self.slowness = slowness
        self._last = 0.0
        self.stalled_until = 0.0
        self.cut = False
        self.under_way: deque[WSMessage] = deque()
        self.size = 0
        self.room = asyncio.Event()
        self.room.set()

    def put(self, frame: WSMessage, arrive: Callable[[WSMessage], None]) -> None:
        loop = asyncio.get_running_loop()
        delay = self.slowness * self._rng.random() ** 3
        self._last = max(self._last, loop.time() + delay, self.stalled_until)
        self.under_way.append(frame)
        self.size += _size(frame)
        if self.size > _FULL_BYTES:
            self.room.clear()
        loop.call_at(self._last, self._arrive, arrive)

    def _arrive(self, arrive: Callable[[WSMessage], None]) -> None:
        if self.cut:
            return
        frame = self.under_way.popleft()
        self.size -= _size(frame)
        if self.size <= _FULL_BYTES:
            self.room.set()
        arrive(frame)


class End:
    """One end, with the methods of aiohttp's WebSockets that queue and worker use."""

    protocol = "headrace.v1"

    def __init__(self, name: str, process: Process, pipe: Pipe) -> None:
        self.name = name
        self.spy: Spy = lambda _what, _frame: None
        self.process = process
        self.pipe = pipe
        self.peer: End
        self.close_code: int | None = None
        self.over = False
        self._inbox: deque[WSMessage] = deque()
        self._news = asyncio.Event()
        self._peer_closed = asyncio.Event()

    # ---- what queue and worker call

    async def send_str(self, data: str) -> None:
        await self._send(WSMessage(WSMsgType.TEXT, data, None))

    async def send_bytes(self, data: bytes) -> None:
        await self._send(WSMessage(WSMsgType.BINARY, bytes(data), None))

    async def receive(self, timeout: float | None = None) -> WSMessage:  # noqa: ASYNC109 - aiohttp has it so
        async with asyncio.timeout(timeout):
            while not self._inbox and not self.over:
                self._news.clear()
                await self._news.wait()
        return self._inbox.popleft() if self._inbox else WSMessage(WSMsgType.CLOSED, None, None)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> WSMessage:
        frame = await self.receive()
        if frame.type in {WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED}:
            raise StopAsyncIteration
        return frame

    async def close(self, *, code: int = 1000, message: bytes = b"") -> bool:
        if self.over:
            return False
        self.close_code = code
        self._end()
        self._inbox.clear()
        self._put(WSMessage(WSMsgType.CLOSE, code, message.decode()))
        try:
            async with asyncio.timeout(_CLOSE_S):
                await self._peer_closed.wait()
        except TimeoutError:
            self.peer.lose()
        return True

    # ---- what the network does

    def lose(self, *, rudely: bool = False) -> None:
        """This end notices that the connection is gone; `rudely`: as an error frame first."""
        if self.over:
            self._peer_closed.set()
            return
        self.close_code = 1006
        if rudely:
            self._inbox.append(WSMessage(WSMsgType.ERROR, ConnectionResetError("cut"), None))
        self._end()

    def arrive(self, frame: WSMessage) -> None:
        if not self.process.alive:
            return
        if frame.type is WSMsgType.CLOSE:
            self._peer_closed.set()
            if not self.over:
                self.close_code = frame.data
                self._end()
                self._put(WSMessage(WSMsgType.CLOSE, frame.data, ""))
        elif not self.over:
            self.spy(f"{self.name} gets", frame)
            self._inbox.append(frame)
            self._news.set()

    def _end(self) -> None:
        self.over = True
        self.pipe.room.set()
        self._news.set()

    async def _send(self, frame: WSMessage) -> None:
        if not self.pipe.room.is_set():
            await self.pipe.room.wait()
        if self.over:
            raise ConnectionResetError("Cannot write to closing transport")
        self._put(frame)

    def _put(self, frame: WSMessage) -> None:
        if self.process.alive:
            self.spy(f"{self.name} sends", frame)
            self.pipe.put(frame, self.peer.arrive)


class Connection:
    """A worker's connection to a queue."""

    def __init__(self, worker: Process, queue: Process, rng: Random, slowness: float) -> None:
        self._rng = rng
        self.credits = 0
        """That have come to the queue and that it has not used."""
        self.to_queue, self.to_worker = Pipe(rng, slowness), Pipe(rng, slowness)
        self.worker_end, self.queue_end = End("worker", worker, self.to_queue), End("queue", queue, self.to_worker)
        self.worker_end.peer, self.queue_end.peer = self.queue_end, self.worker_end

    def watch(self, spy: Spy) -> None:
        self.worker_end.spy = self.queue_end.spy = spy

    @property
    def quiet(self) -> bool:
        """Whether nothing is on its way."""
        return not (self.to_queue.under_way or self.to_worker.under_way)

    @property
    def over(self) -> bool:
        return self.worker_end.over or self.queue_end.over or self.to_queue.cut

    def heal(self) -> None:
        """From now on everything arrives at once."""
        self.to_queue.slowness = self.to_worker.slowness = 0.0

    def stall(self, seconds: float) -> None:
        """Nothing arrives for so long."""
        for pipe in (self.to_queue, self.to_worker):
            pipe.stalled_until = asyncio.get_running_loop().time() + seconds

    def cut(self, longest: float) -> None:
        """What is under way is lost; each end notices at its own time."""
        loop = asyncio.get_running_loop()
        for pipe in (self.to_queue, self.to_worker):
            pipe.cut = True
        for end in (self.worker_end, self.queue_end):
            rudely = self._rng.random() < 0.3
            loop.call_later(self._rng.random() * longest, lambda end=end, rudely=rudely: end.lose(rudely=rudely))


def _size(frame: WSMessage) -> int:
    return len(frame.data) if isinstance(frame.data, str | bytes) else 0
