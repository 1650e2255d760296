"""A request by HTTP, as every engine understands it: over connections that are kept, read by bare protocols.

A client library costs more for a token than all else that the worker does with it.
"""

import asyncio
from contextlib import AbstractAsyncContextManager
from urllib.parse import urlsplit

from headrace_worker.transports.awaited import asked
from headrace_worker.transports.connection import Connection
from headrace_worker.transports.protocol import Answer, Sink

_CONNECT_S = 30.0


class Http:
    """See `Transport`."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url
        parts = urlsplit(base_url)
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 80
        headers = f"Host: {parts.netloc}\r\nUser-Agent: headrace-worker\r\nContent-Type: application/json\r\n"
        self._head = f"HTTP/1.1\r\n{headers}Content-Length: "
        self._idle: dict[Connection, None] = {}
        self._all: set[Connection] = set()

    def start(self, path: str, body: bytes, sink: Sink, /) -> "Request":
        """See `Transport.start`."""
        head = f"POST {path} {self._head}{len(body)}\r\n\r\n"
        request = Request(self, head.encode() + body, sink)
        request.go(self._idle.popitem()[0] if self._idle else None)
        return request

    def ask(self, path: str, body: bytes, /) -> AbstractAsyncContextManager[Answer]:
        """See `Transport.ask`."""
        return asked(self.start, path, body)

    async def close(self) -> None:
        """See `Transport.close`."""
        for connection in list(self._all):
            connection.transport.abort()

    async def connected(self) -> Connection:
        """A new connection.

        Raises:
            OSError: there is none to be had.
        """
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(_CONNECT_S):
            _, connection = await loop.create_connection(lambda: Connection(self._over), self.host, self.port)
        self._all.add(connection)
        return connection

    def _over(self, connection: Connection, usable: bool) -> None:
        if usable:
            self._idle[connection] = None
        else:
            self._idle.pop(connection, None)
            self._all.discard(connection)


class Request:
    """One request under way; see `Asking`, and for its connection `Receiver`."""

    def __init__(self, pool: Http, request: bytes, sink: Sink) -> None:
        self._pool = pool
        self._request = request
        self._sink = sink
        self._connection: Connection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._kept = False
        self._paused = False
        self.begun, self.received = sink.begun, sink.received

    def go(self, connection: Connection | None) -> None:
        """Send it over a connection that was kept, or over a new one."""
        if connection is None:
            self._connecting = asyncio.ensure_future(self._connect())
            return
        self._kept, self._connection = True, connection
        connection.send(self._request, self)

    async def _connect(self) -> None:
        try:
            connection = await self._pool.connected()
        except OSError as error:  # a timeout is one, too
            self._sink.lost(f"Cannot connect to {self._pool.host}:{self._pool.port}: {type(error).__name__}: {error}")
            return
        self._connecting, self._connection = None, connection
        if self._paused:
            connection.transport.pause_reading()
        connection.send(self._request, self)

    def cancel(self) -> None:
        """See `Asking.cancel`."""
        if self._connecting:
            self._connecting.cancel()
        if self._connection:
            self._connection.abort()
            self._connection = None

    def pause(self) -> None:
        """See `Asking.pause`."""
        self._paused = True
        if self._connection:
            self._connection.transport.pause_reading()

    def resume(self) -> None:
        """See `Asking.resume`."""
        self._paused = False
        if self._connection:
            self._connection.transport.resume_reading()

    # ---- for the connection

    def ended(self) -> None:
        """See `Sink.ended`."""
        self._let_go()
        self._sink.ended()

    def broken(self, why: str, *, silent: bool) -> None:
        """An engine may close an idle connection just as a request is sent over it: that one is sent once more."""
        self._let_go()
        if silent and self._kept:
            self._kept = False
            self.go(None)
        else:
            self._sink.lost(why)

    def _let_go(self) -> None:
        if self._connection and self._paused:
            self._connection.transport.resume_reading()
        self._connection = None
