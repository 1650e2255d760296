"""Many requests and their answers over one WebSocket, inside of vLLM's API server: an ASGI middleware.

vLLM writes each token of each request as an HTTP chunk of its own. With 64 streams that is 64 system calls per step of
the engine there and 64 in the worker. Here what all requests have to say leaves in one frame. vLLM's application is
called in-process as its own server calls it, so that its parsers, checks, metrics and other middleware see no
difference. The worker's end is `headrace_worker.transports.multiplexed`.

vLLM's interpreter imports this module and no other of Headrace: it needs the standard library alone (Python 3.10 on).

A frame is a row of pieces: request, kind and length (`HEADER`), then so many bytes. The worker sends `REQUEST`
(`METHOD PATH`, a newline, the body), `CREDIT` (how many bytes of an answer it has used up, in digits) and `CANCEL`. The
server sends `STATUS` (in digits), `BODY` any number of times, and `END`, or `BROKEN` where it cannot end. Of one answer
at most `WINDOW` and one piece are on their way, so that a reader who is slow holds its own request up and no other.
"""

import asyncio
import logging
import struct
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any

PATH = "/headrace/requests"
HEADER = struct.Struct(">IBI")
REQUEST, CREDIT, CANCEL, STATUS, BODY, END, BROKEN = range(7)
WINDOW = 256 << 10
LARGEST_PIECE = 64 << 10

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_App = Callable[[_Message, _Receive, _Send], Awaitable[None]]

log = logging.getLogger(__name__)


def pieces_of(frame: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Request, kind and data of each piece.

    Raises:
        struct.error: the frame ends within a piece's header.
    """
    offset = 0
    while offset < len(frame):
        number, kind, length = HEADER.unpack_from(frame, offset)
        offset += HEADER.size
        yield number, kind, frame[offset : offset + length]
        offset += length


class Outbox:
    """Collects pieces; `run` sends all that are there when it gets its turn in one frame."""

    def __init__(self, send: Callable[[bytes], Awaitable[None]]) -> None:
        self._send = send
        self._parts: list[bytes] = []
        self._filled = asyncio.Event()

    def put(self, number: int, kind: int, data: bytes = b"") -> None:
        """Send this after all that was put before."""
        self._parts += (HEADER.pack(number, kind, len(data)), data)
        self._filled.set()

    async def run(self) -> None:
        """Send for ever; ends by cancellation or with the connection's error."""
        while True:
            await self._filled.wait()
            self._filled.clear()
            parts, self._parts = self._parts, []
            await self._send(b"".join(parts))


class Multiplexer:
    """The middleware: answers its own path, and passes on everything else."""

    def __init__(self, app: _App) -> None:
        self._app = app

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """ASGI's entry."""
        if scope["type"] == "websocket" and scope["path"].endswith(PATH):
            # Starlette's outermost layer, which turns errors into answers, is around the middleware, so that requests
            # begin there.
            await _Connection(scope.get("app", self._app), scope, receive, send).run()
        else:
            await self._app(scope, receive, send)


class _Connection:
    """One worker's WebSocket, and the requests that came over it."""

    def __init__(self, app: _App, scope: _Message, receive: _Receive, send: _Send) -> None:
        self._app = app
        self._scope = scope
        self._receive = receive
        self._send = send
        self._out = Outbox(self._frame)
        self._requests: dict[int, _Request] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Serve until the connection ends; what is then under way is told that its client has left."""
        await self._receive()
        await self._send({"type": "websocket.accept"})
        sender = asyncio.create_task(self._out.run())
        try:
            while (message := await self._receive())["type"] == "websocket.receive":
                for number, kind, data in pieces_of(message["bytes"]):
                    self._handle(number, kind, data)
        finally:
            for request in self._requests.values():
                request.leave()
            sender.cancel()
            await asyncio.gather(sender, *self._tasks, return_exceptions=True)

    async def _frame(self, data: bytes) -> None:
        await self._send({"type": "websocket.send", "bytes": data})

    def _handle(self, number: int, kind: int, data: bytes) -> None:
        request = self._requests.get(number)
        if kind == REQUEST:
            self._begin(number, data)
        elif request and kind == CREDIT:
            request.credit(int(data))
        elif request and kind == CANCEL:
            request.leave()

    def _begin(self, number: int, data: bytes) -> None:
        head, _, body = data.partition(b"\n")
        method, _, path = head.decode().partition(" ")
        request = self._requests[number] = _Request(number, body, self._out.put)
        task = asyncio.create_task(self._call(_scope(self._scope, method, path, len(body)), request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _call(self, scope: _Message, request: "_Request") -> None:
        try:
            await self._app(scope, request.receive, request.send)
        except Exception:
            log.exception("the application failed in a request")
        finally:
            del self._requests[request.number]
            request.end(BROKEN)


class _Request:
    """A request as its application sees it: what it receives and sends."""

    def __init__(self, number: int, body: bytes, put: Callable[[int, int, bytes], None]) -> None:
        self.number = number
        self._body: bytes | None = body
        self._put = put
        self._window = WINDOW
        self._over = asyncio.Event()
        """The answer is complete, or nobody waits for it any more."""
        self._changed = asyncio.Event()

    def credit(self, size: int) -> None:
        """So many bytes more may be sent."""
        self._window += size
        self._changed.set()

    def leave(self) -> None:
        """The client has left: the application is told, and what it still sends is dropped."""
        self._over.set()
        self._changed.set()

    def end(self, kind: int) -> None:
        """Say how the answer ended, unless it has ended before."""
        if not self._over.is_set():
            self._put(self.number, kind, b"")
            self._over.set()

    async def receive(self) -> _Message:
        """The body, then, once it is so, that the client has left."""
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._over.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: _Message) -> None:
        """Pass a part of the answer on; waits while much of it is unread."""
        if self._over.is_set():
            return
        if message["type"] == "http.response.start":
            self._put(self.number, STATUS, b"%d" % message["status"])
            return
        body = message.get("body", b"")
        for start in range(0, len(body), LARGEST_PIECE):
            await self._room()
            self._piece(body[start : start + LARGEST_PIECE])
        if not message.get("more_body", False):
            self.end(END)

    async def _room(self) -> None:
        while self._window <= 0 and not self._over.is_set():
            self._changed.clear()
            await self._changed.wait()

    def _piece(self, part: bytes) -> None:
        if not self._over.is_set():
            self._window -= len(part)
            self._put(self.number, BODY, part)


def _scope(websocket: _Message, method: str, path: str, length: int) -> _Message:
    """What the server would say of a request that came by HTTP."""
    path = websocket["path"].removesuffix(PATH) + path  # a server may be told to put something before all paths
    hosts = [(name, value) for name, value in websocket["headers"] if name == b"host"]
    kept = {key: websocket[key] for key in ("client", "server", "root_path") if key in websocket}
    return kept | {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "scheme": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [*hosts, (b"content-type", b"application/json"), (b"content-length", b"%d" % length)],
        "state": dict(websocket.get("state", {})),
        "extensions": {},
    }
