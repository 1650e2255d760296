"""The physical peer: the least that a proxy in plain Python can do, asyncio protocols and httptools, bytes passed on.

    python tests/bench/queue_costs/bare.py PORT ENGINE_PORT

It reads each request's body, looks its model up, and sends it on over a pooled connection. It has no errors, no bounds
and no accounts: a limit to compare with, not a program to use.
"""

import asyncio
import json
import sys

import httptools

_BACKLOG = 8192
_POST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


class Back(asyncio.Protocol):
    """A connection to the engine: it passes everything on as it comes, and ends when the answer does."""

    def __init__(self, pool: "list[Back]") -> None:
        self._pool = pool
        self._parser = httptools.HttpResponseParser(self)
        self.front: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self.front:
            self.front.write(data)
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self.front = None
        self._pool.append(self)


class Front(asyncio.Protocol):
    """A client's connection."""

    def __init__(self, engine_port: int, pool: list[Back]) -> None:
        self._engine_port = engine_port
        self._pool = pool
        self._parser = httptools.HttpRequestParser(self)
        self._body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._body = b""

    def on_body(self, data: bytes) -> None:
        self._body += data

    def on_message_complete(self) -> None:
        body = self._body
        if json.loads(body)["model"] != "bench":
            self._transport.abort()
        elif self._pool:
            self._send(self._pool.pop(), body)
        else:
            connecting = asyncio.ensure_future(self._connect(body))
            connecting.add_done_callback(asyncio.Future.result)

    async def _connect(self, body: bytes) -> None:
        loop = asyncio.get_running_loop()
        _, back = await loop.create_connection(lambda: Back(self._pool), "127.0.0.1", self._engine_port)
        self._send(back, body)

    def _send(self, back: Back, body: bytes) -> None:
        back.front = self._transport
        back.transport.write(_POST % len(body) + body)


async def serve(port: int, engine_port: int) -> None:
    """Until SIGTERM."""
    pool: list[Back] = []
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Front(engine_port, pool), "127.0.0.1", port, backlog=_BACKLOG)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2])))
