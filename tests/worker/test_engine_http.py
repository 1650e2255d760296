"""The worker's own HTTP client, against servers whose every byte a test decides."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from headrace_worker.transports.http import Http
from headrace_worker.transports.protocol import EngineLostError
from tests.waiting import until

Handler = Callable[["Server", asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
HUGE = b"x" * (8 << 20)


class Server:
    """Counts connections and requests; `handler` answers each request."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.connections = self.open = 0
        self.requests: list[bytes] = []
        self.left = asyncio.Event()
        self.url = ""

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            await self.serve(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            self.open -= 1

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.partition(b"Content-Length: ")[2].split(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                await self.handler(self, reader, writer)


@contextlib.asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[tuple[Server, Http]]:
    server = Server(handler)
    async with await asyncio.start_server(server.accept, "127.0.0.1", 0) as listening:
        transport = Http(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
        try:
            yield server, transport
        finally:
            await transport.close()
            await until(lambda: not server.open, 5)


async def whole(transport: Http, body: bytes = b"{}") -> tuple[int, bytes]:
    async with asyncio.timeout(10), transport.ask("/v1/completions", body) as answer:
        return answer.status, b"".join([data async for data in answer.received()])


async def answer(_: Server, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(WHOLE)


async def test_connections_are_kept() -> None:
    async with serving(answer) as (server, transport):
        for _ in range(5):
            assert await whole(transport, b'{"a": 1}') == (200, b"hello")
        assert server.connections == 1
        await asyncio.gather(*(whole(transport) for _ in range(8)))
        assert server.connections <= 8
        assert server.requests[0].startswith(b"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1")
        assert server.requests[0].endswith(b'{"a": 1}')


async def test_one_that_is_closed_is_not_used_again() -> None:
    async def once(_: Server, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello")
        writer.close()

    async with serving(once) as (server, transport):
        for _ in range(3):
            assert await whole(transport) == (200, b"hello")
        assert server.connections == 3


async def test_a_request_that_meets_a_closing_connection_is_sent_once_more() -> None:
    async def closes_at_the_second(server: Server, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(server.requests) == 2:
            writer.close()
        else:
            writer.write(WHOLE)

    async with serving(closes_at_the_second) as (server, transport):
        assert await whole(transport) == await whole(transport) == (200, b"hello")
        assert (len(server.requests), server.connections) == (3, 2)


async def test_an_engine_that_breaks_off_is_lost_and_not_asked_again() -> None:
    async def half(_: Server, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(WHOLE[:-2])
        await writer.drain()
        writer.transport.abort()

    async with serving(half) as (server, transport):
        with pytest.raises(EngineLostError):
            await whole(transport)
        assert len(server.requests) == 1


async def test_a_new_connection_that_says_nothing_is_lost() -> None:
    async def mute(_: Server, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with serving(mute) as (server, transport):
        with pytest.raises(EngineLostError, match="closed its connection"):
            await whole(transport)
        assert len(server.requests) == 1


async def test_an_answer_may_end_with_its_connection() -> None:
    async def unframed(_: Server, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nhel")
        await writer.drain()
        await asyncio.sleep(0.01)
        writer.write(b"lo")
        writer.close()

    async with serving(unframed) as (_, transport):
        assert await whole(transport) == (200, b"hello")


async def test_what_is_no_http_is_lost() -> None:
    async def nonsense(_: Server, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.org ESMTP\r\n")

    async with serving(nonsense) as (_, transport):
        with pytest.raises(EngineLostError, match="HttpParser"):
            await whole(transport)


async def test_nobody_there() -> None:
    async with serving(answer) as (_, transport):
        pass
    with pytest.raises(EngineLostError, match="Cannot connect"):
        await whole(transport)


async def test_leaving_closes_the_engines_connection() -> None:
    async def held(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
        assert await reader.read() == b""
        server.left.set()

    async with serving(held) as (server, transport):
        async with transport.ask("/", b"") as asked:
            assert await anext(asked.received()) == b"x"
        await asyncio.wait_for(server.left.wait(), 5)


async def test_who_pauses_holds_the_engine_up() -> None:
    written = 0

    async def huge(_: Server, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(HUGE))
        for start in range(0, len(HUGE), 1 << 16):
            writer.write(HUGE[start : start + (1 << 16)])
            await writer.drain()
            written += 1 << 16

    class Told:
        def __init__(self) -> None:
            self.size, self.over = 0, False

        def begun(self, status: int, /) -> None:
            assert status == 200

        def received(self, data: bytes, /) -> None:
            self.size += len(data)

        def ended(self) -> None:
            self.over = True

        def lost(self, why: str, /) -> None:
            raise AssertionError(why)

    async with serving(huge) as (_, transport):
        told = Told()
        asking = transport.start("/", b"", told)
        asking.pause()
        await until(lambda: written > 0, 5)
        await asyncio.sleep(0.1)
        assert told.size == 0
        assert written < len(HUGE)
        asking.resume()
        await until(lambda: told.over, 10)
        assert told.size == len(HUGE)
