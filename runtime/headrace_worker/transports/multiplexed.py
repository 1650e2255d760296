"""All requests over one WebSocket; the engine's end and the frames are those of `in_vllm.headrace_multiplexer`."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Iterator

import aiohttp

from headrace_worker.engines.in_vllm.headrace_multiplexer import (
    BODY,
    CANCEL,
    CREDIT,
    END,
    PATH,
    REQUEST,
    STATUS,
    WINDOW,
    Outbox,
    pieces_of,
)
from headrace_worker.transports.awaited import Pumped
from headrace_worker.transports.http import Http
from headrace_worker.transports.protocol import Answer, EngineLostError, Sink

_LARGEST_BODY = 4 << 20
"""A request that is larger goes by HTTP: uvicorn takes messages of up to 16 MiB, and others would wait behind it."""
_NUMBERS = 1 << 32
_OPEN_S = 10.0
_TIMEOUT = aiohttp.ClientWSTimeout(ws_close=0.5)
_BROKE = "the engine's connection broke in the middle of a request"


class Multiplexed:
    """See `Transport`; connects again, when the next request comes, after the connection broke."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str) -> None:
        self._session = session
        self._url = base_url + PATH
        self._direct = Http(base_url)
        self._connection: _Connection | None = None
        self._connecting = asyncio.Lock()

    def start(self, path: str, body: bytes, sink: Sink, /) -> Pumped:
        """See `Transport.start`."""
        return Pumped(self.ask, path, body, sink)

    @contextlib.asynccontextmanager
    async def ask(self, path: str, body: bytes) -> AsyncIterator[Answer]:
        """See `Transport.ask`."""
        if len(body) > _LARGEST_BODY:
            async with self._direct.ask(path, body) as answer:
                yield answer
            return
        connection = await self._connected()
        with connection.asked(b"POST " + path.encode() + b"\n" + body) as stream:
            await stream.begun()
            yield stream

    async def probe(self) -> None:
        """Ask for the engine's health in this way.

        Raises:
            EngineLostError: the engine does not have it, or does not answer as it does by HTTP.
        """
        try:
            async with asyncio.timeout(_OPEN_S):
                with (await self._connected()).asked(b"GET /health\n") as stream:
                    await stream.begun()
        except TimeoutError as error:
            raise EngineLostError(f"{self._url} has not answered for {_OPEN_S:.0f} s") from error
        if stream.status != 200:
            raise EngineLostError(f"{self._url} answers /health with {stream.status}")

    async def close(self) -> None:
        """See `Transport.close`."""
        await self._direct.close()
        await self._leave()

    async def _leave(self) -> None:
        if self._connection:
            await self._connection.close()

    async def _connected(self) -> "_Connection":
        async with self._connecting:
            if self._connection is None or self._connection.broken:
                await self._leave()
                try:
                    socket = await self._session.ws_connect(self._url, max_msg_size=0, timeout=_TIMEOUT)
                except (aiohttp.ClientError, ConnectionError, TimeoutError) as error:
                    raise EngineLostError(f"{type(error).__name__}: {error}") from error
                self._connection = _Connection(socket)
            return self._connection


class _Connection:
    """One WebSocket, and the requests under way on it."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.broken = False
        self._socket = socket
        self._out = Outbox(socket.send_bytes)
        self._streams: dict[int, _Stream] = {}
        self._numbers = itertools.cycle(range(_NUMBERS))
        self._serving = asyncio.create_task(self._serve())

    @contextlib.contextmanager
    def asked(self, request: bytes) -> Iterator["_Stream"]:
        """Send a request; leaving the context cancels it if its answer has not ended."""
        if self.broken:
            raise EngineLostError(_BROKE)
        number = next(self._numbers)
        stream = self._streams[number] = _Stream(lambda size: self._out.put(number, CREDIT, b"%d" % size))
        self._out.put(number, REQUEST, request)
        try:
            yield stream
        finally:
            del self._streams[number]
            if not stream.over:
                self._out.put(number, CANCEL)

    async def close(self) -> None:
        """Break what is under way, and leave."""
        self._serving.cancel()
        await asyncio.gather(self._serving, return_exceptions=True)

    async def _serve(self) -> None:
        sender = asyncio.create_task(self._out.run())
        reader = asyncio.create_task(self._read())
        try:
            await asyncio.wait({sender, reader}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.broken = True
            for stream in self._streams.values():
                stream.lose()
            for task in (sender, reader):
                task.cancel()
            await asyncio.gather(sender, reader, return_exceptions=True)
            await self._socket.close()

    async def _read(self) -> None:
        async for frame in self._socket:
            if frame.type is not aiohttp.WSMsgType.BINARY:
                return
            for number, kind, data in pieces_of(frame.data):
                if stream := self._streams.get(number):
                    stream.add(kind, data)


class _Stream:
    """An answer as it comes; see `Answer`."""

    def __init__(self, credit: Callable[[int], None]) -> None:
        self.status = 0
        self.over = False
        """Nothing more comes."""
        self._lost = False
        self._credit = credit
        self._used = 0
        self._data: list[bytes] = []
        self._news = asyncio.Event()

    def add(self, kind: int, data: bytes) -> None:
        """Take a piece in."""
        if kind == BODY:
            self._data.append(data)
        elif kind == STATUS:
            self.status = int(data)
        else:
            self.over, self._lost = True, kind != END
        self._news.set()

    def lose(self) -> None:
        """The connection broke."""
        self._lost = self._lost or not self.over
        self.over = True
        self._news.set()

    async def begun(self) -> None:
        """Wait for the status.

        Raises:
            EngineLostError: none came.
        """
        while not self.status:
            if self.over:
                raise EngineLostError(_BROKE)
            await self._changed()

    async def received(self) -> AsyncIterator[bytes]:
        """See `Answer.received`."""
        while self._data or not self.over:
            if self._data:
                data = b"".join(self._data)
                self._data.clear()
                yield data
                self._use(len(data))
            else:
                await self._changed()
        if self._lost:
            raise EngineLostError(_BROKE)

    async def _changed(self) -> None:
        self._news.clear()
        await self._news.wait()

    def _use(self, size: int) -> None:
        self._used += size
        if self._used >= WINDOW // 2 and not self.over:
            self._credit(self._used)
            self._used = 0
