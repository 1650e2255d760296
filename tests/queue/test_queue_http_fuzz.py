"""The connection's protocol against any bytes in any pieces; the transport is the only thing that is not real."""

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_http import request

from headrace_queue.errors import ApiError
from headrace_queue.http.connection import Connection, HttpLimits
from headrace_queue.http.head import Head
from headrace_queue.http.reply import Reply

LIMITS = HttpLimits(body=2000, head=1000)


class Transport(asyncio.Transport):
    """Keeps what is written; a write after the end is a fault."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.ended = False

    def write(self, data: Any) -> None:
        assert not self.ended
        self.written += data

    def write_eof(self) -> None:
        self.ended = True

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        self.ended = True

    def abort(self) -> None:
        self.ended = True

    def is_closing(self) -> bool:
        return self.ended

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol


class Elsewhere(asyncio.Protocol):
    data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.made = transport

    def data_received(self, data: bytes) -> None:
        self.data += data


class House:
    """Answers what comes for /a at once, for /b in two parts, and knows no other path."""

    limits = LIMITS
    date = b"date: now\r\n"
    closing = False

    def __init__(self) -> None:
        self.service = self
        self.served: list[tuple[str, bytes]] = []
        self.refused: list[int] = []
        self.handed_over: list[Elsewhere] = []

    def elsewhere(self) -> Elsewhere:
        self.handed_over.append(Elsewhere())
        return self.handed_over[-1]

    def enter(self, connection: Connection) -> None:
        pass

    def leave(self, connection: Connection) -> None:
        pass

    def takes(self, head: Head) -> bool:
        return head.path in {b"/a", b"/b"}

    def serve(self, head: Head, body: bytes, reply: Reply) -> None:
        self.served.append((head.path.decode(), body))
        if head.path == b"/a":
            reply.send(200, b"", body)
        else:
            reply.begin(b"")
            reply.write(b"part")
            asyncio.get_running_loop().call_soon(reply.end, b"rest")

    def refuse(self, _: Head | None, error: ApiError, reply: Reply) -> None:
        self.refused.append(error.status)
        reply.send(error.status, b"", b"")


def feed(parts: Iterable[bytes]) -> tuple[House, Transport]:
    house, transport = House(), Transport()

    async def run() -> None:
        connection = Connection(house)
        connection.connection_made(transport)
        for part in parts:
            if house.handed_over:
                house.handed_over[0].data_received(part)
            else:
                connection.data_received(part)
            await asyncio.sleep(0)
        for _ in range(50):
            await asyncio.sleep(0)
        connection.tick(asyncio.get_running_loop().time() + 10_000)
        connection.connection_lost(None)

    asyncio.run(run())
    return house, transport


def split(data: bytes, sizes: list[int]) -> list[bytes]:
    parts, start = [], 0
    for size in sizes:
        parts.append(data[start : start + size])
        start += size
    return [part for part in [*parts, data[start:]] if part]


PATHS = st.sampled_from(["/a", "/b"])
BODIES = st.binary(max_size=100)
SIZES = st.lists(st.integers(1, 200), max_size=20)


@given(st.lists(st.tuples(PATHS, BODIES), min_size=1, max_size=6), SIZES)
@settings(max_examples=100, deadline=None)
def test_requests_in_any_pieces_are_served_in_order(asked: list[tuple[str, bytes]], sizes: list[int]) -> None:
    house, transport = feed(split(b"".join(request("POST", path, body) for path, body in asked), sizes))
    assert house.served == asked
    assert transport.written.count(b"HTTP/1.1 200 OK\r\n") == len(asked)


@given(st.lists(st.tuples(PATHS, BODIES), max_size=3), st.binary(max_size=300), SIZES)
@settings(max_examples=100, deadline=None)
def test_what_is_handed_over_is_whole(asked: list[tuple[str, bytes]], behind: bytes, sizes: list[int]) -> None:
    handed = request("GET", "/elsewhere", cookie="x" * 50) + behind
    data = b"".join(request("POST", path, body) for path, body in asked) + handed
    house, transport = feed(split(data, sizes))
    assert house.served == asked
    (protocol,) = house.handed_over
    assert protocol.made is transport
    assert protocol.data == handed


HEAD_SCRAPS = [
    b"\r\n",
    b"\r\n\r\n",
    b"GET /a HTTP/1.1\r\n",
    b"POST /b HTTP/1.0\r\n",
    b"POST /a HTTP/1.1\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: -1\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n",
    b"Expect: 100-continue\r\n",
    b"Connection: close\r\n",
    b"Connection: Upgrade\r\n",
    b"Upgrade: websocket\r\n",
    b": \r\n",
    b"A: b\r\n c\r\n",
]
BODY_SCRAPS = [b"5\r\nabcde\r\n", b"0\r\n\r\n", b"ffffffffffffffff\r\n", b"\x00", b"abcde", b"x" * 1200]
SCRAPS = st.sampled_from(HEAD_SCRAPS + BODY_SCRAPS)


@pytest.mark.slow
@given(st.lists(SCRAPS | st.binary(max_size=20), max_size=12), SIZES)
@settings(max_examples=300, deadline=None)
def test_no_bytes_break_the_connection(scraps: list[bytes], sizes: list[int]) -> None:
    house, transport = feed(split(b"".join(scraps), sizes))
    assert len(house.refused) <= 1, "after a refusal nothing is read"
    assert set(house.refused) <= {400, 408, 413, 417, 431}
    starts = transport.written.count(b"HTTP/1.1 ") - transport.written.count(b"HTTP/1.1 100 Continue")
    assert starts == len(house.served) + len(house.refused)
