"""The queue's side of `headrace.v1`, driven by a test step by step."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any, TypeVar

from aiohttp import WSMsgType, web

from headrace_api.pieces import decode_pieces
from headrace_api.wire import (
    SUBPROTOCOL,
    Ack,
    Credit,
    Job,
    QueueMessage,
    Register,
    Registered,
    Report,
    Result,
    WorkerMessage,
    encoded,
    read_worker_messages,
)
from tests.serving import served

M = TypeVar("M", bound=Register | WorkerMessage)
PATIENCE_S = 60


CHAT = "/v1/chat/completions"


class Connection:
    """One worker's connection."""

    def __init__(self, socket: web.WebSocketResponse, headers: dict[str, str]) -> None:
        self.socket = socket
        self.headers = headers
        self.messages: asyncio.Queue[Register | WorkerMessage] = asyncio.Queue()
        """All but the reports."""
        self.reports: list[Report] = []
        self.frames: list[list[tuple[int, bytes]]] = []
        self.answers: dict[int, bytes] = defaultdict(bytes)
        self.piece = asyncio.Event()
        self.closed = asyncio.Event()

    async def read(self) -> None:
        self.messages.put_nowait(Register.model_validate_json(await self.socket.receive_str()))
        async for frame in self.socket:
            if frame.type is WSMsgType.TEXT:
                for message in read_worker_messages(frame.data):
                    self.reports.append(message) if isinstance(message, Report) else self.messages.put_nowait(message)
            elif frame.type is WSMsgType.BINARY:
                self.frames.append(decode_pieces(frame.data))
                for job, data in self.frames[-1]:
                    self.answers[job] += data
                self.piece.set()
        self.closed.set()

    async def expect(self, kind: type[M]) -> M:
        message = await asyncio.wait_for(self.messages.get(), PATIENCE_S)
        assert isinstance(message, kind), message
        return message

    async def expect_after(self, kind: type[M]) -> M:
        """The next one of the kind, whatever comes before it."""
        while not isinstance(message := await asyncio.wait_for(self.messages.get(), PATIENCE_S), kind):
            pass
        return message

    async def results(self, count: int, granted: int | None = None) -> list[Result]:
        """So many, and the credits that come back with them, in one message or in many."""
        granted = count if granted is None else granted
        results: list[Result] = []
        credits_back = 0
        while len(results) < count or credits_back < granted:
            message = await asyncio.wait_for(self.messages.get(), PATIENCE_S)
            assert isinstance(message, (Result, Credit)), message
            if isinstance(message, Result):
                results.append(message)
            else:
                credits_back += message.n
        assert credits_back == granted
        return results

    async def first_piece(self) -> None:
        await asyncio.wait_for(self.piece.wait(), PATIENCE_S)

    async def send(self, message: QueueMessage) -> None:
        await self.socket.send_str(encoded(message))

    async def ask(self, job: int, content: str, **more: Any) -> None:
        await self.ask_path(CHAT, job, messages=[{"role": "user", "content": content}], **more)

    async def ask_path(self, url: str, job: int, **request: Any) -> None:
        request = {"model": "public-name", **request}
        await self.send(Job(job=job, request_id=f"request-{job}", openai_url=url, openai_req=request))

    async def ack(self, request_id: str) -> None:
        await self.send(Ack(request_id=request_id))

    async def greet(self) -> tuple[Register, Credit]:
        register = await self.expect(Register)
        await self.send(Registered())
        return register, await self.expect(Credit)


class ScriptedQueue:
    """Accepts workers; `refuse` is the HTTP status or the close code to turn them away with."""

    def __init__(self) -> None:
        self.connections: asyncio.Queue[Connection] = asyncio.Queue()
        self.refuse: int | None = None
        self.refused = asyncio.Event()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def connection(self) -> Connection:
        return await asyncio.wait_for(self.connections.get(), PATIENCE_S)

    async def accept(self, request: web.Request) -> web.StreamResponse:
        if self.refuse and self.refuse < 1000:
            self.refused.set()
            return web.Response(status=self.refuse)
        socket = web.WebSocketResponse(protocols=(SUBPROTOCOL,))
        await socket.prepare(request)
        if self.refuse:
            await socket.close(code=self.refuse)
            self.refused.set()
            return socket
        connection = Connection(socket, dict(request.headers))
        self.connections.put_nowait(connection)
        await connection.read()
        return socket

    @contextlib.asynccontextmanager
    async def serving(self, host: str = "127.0.0.1") -> AsyncIterator["ScriptedQueue"]:
        app = web.Application()
        app.router.add_get("/worker", self.accept)
        async with served(app, host, self.port) as self.port:
            yield self
