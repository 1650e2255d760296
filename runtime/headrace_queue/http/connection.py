"""One client's connection: reads its requests one after the other, hands each over, and writes the answers.

It never waits: what comes is told to it by the transport, what goes by those who answer. While a request is answered
the connection goes on being read, so that a client that leaves is noticed at once; what such a client sends ahead is
kept, up to a bound. A slow client is never waited for: `paused` says when it does not keep up, and time limits end
what takes forever (`HttpLimits`).
"""

import asyncio
import enum
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from headrace_queue import errors
from headrace_queue.errors import ApiError
from headrace_queue.http.body import Body, body_of
from headrace_queue.http.head import Head, read_head
from headrace_queue.http.reply import Client, Reply, chunk, status_line

_END_OF_HEAD = b"\r\n\r\n"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_CHUNKED = b"transfer-encoding: chunked\r\n"
_CLOSE = b"connection: close\r\n"
_KEEP = b"connection: keep-alive\r\n"
_LAST_CHUNK = b"0\r\n\r\n"


@dataclass(frozen=True)
class HttpLimits:
    """How much and how slowly a client may send. Sizes in bytes, times in seconds."""

    body: int = 32 * 2**20
    head: int = 65_536
    """Of a request's head, and of what a client sends ahead while its request is answered."""
    head_seconds: float = 20
    """From a head's first byte to its last."""
    body_seconds: float = 30
    """After so long a body must have come with `body_rate` bytes a second on average, and from then on."""
    body_rate: float = 10_000
    idle_seconds: float = 660
    """Between requests: longer than the 600 s of Google's load balancers, which must be the first to close."""
    last_seconds: float = 10
    """How long a client whose connection is closed has to read what it has not read yet."""


class Service(Protocol):
    """What the connections are for."""

    @property
    def closing(self) -> bool:
        """Whether every answer ends its connection."""

    def takes(self, head: Head) -> bool:
        """Whether this service answers such a request; otherwise the connection is handed over."""

    def serve(self, head: Head, body: bytes, reply: Reply) -> None:
        """Answer a request, at once or later."""

    def refuse(self, head: Head | None, error: ApiError, reply: Reply) -> None:
        """Answer a request that cannot be read, at once; `head` as far as it was read."""


class House(Protocol):
    """What all connections have in common."""

    limits: HttpLimits
    service: Service
    elsewhere: Callable[[], asyncio.Protocol]
    """Makes the protocol that a connection is handed over to."""
    date: bytes
    """The header field with the time."""

    def enter(self, connection: "Connection") -> None:
        """A connection begins."""

    def leave(self, connection: "Connection") -> None:
        """A connection has ended, or is somebody else's now."""


class _State(enum.Enum):
    HEAD = enum.auto()
    BODY = enum.auto()
    ANSWER = enum.auto()
    LAST = enum.auto()
    """Nothing more is read; the connection ends when the client has its answer."""


class Connection(asyncio.Protocol):
    """See the module; it is the `Reply` of each of its requests."""

    def __init__(self, house: House) -> None:
        self.client: Client | None = None
        self.paused = False
        self._house = house
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._state = _State.HEAD
        self._buffer: bytes | bytearray = b""
        """Of the request that is read, or of those behind the one that is answered."""
        self._searched = 0
        """How much of it has no end of a head, so that it need not be looked at again."""
        self._head: Head | None = None
        self._body: Body | None = None
        self._since = 0.0
        """When the body began to come."""
        self._deadline = math.inf
        self._pending = b""
        """A response's head that has not gone out."""
        self._written = False
        """Whether all of the answer has been written."""
        self._discards = False
        """Whether what comes is not wanted any more, and this connection ends with the request that is answered."""
        self._ends = False
        """Whether it ends with that request, whatever comes."""

    # ---- told by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there."""
        self._transport = transport  # type: ignore[assignment]  # the loop's servers make transports for both ways
        self._house.enter(self)
        self._deadline = self._loop.time() + self._house.limits.idle_seconds

    def connection_lost(self, _: Exception | None) -> None:
        """It is gone."""
        self._house.leave(self)
        self._state = _State.LAST
        client, self.client = self.client, None
        if client is not None:
            client.lost()

    def pause_writing(self) -> None:
        """Much is unread."""
        self.paused = True

    def resume_writing(self) -> None:
        """Most of it has been read."""
        self.paused = False
        if self._written:
            self._finish()
        elif self.client is not None:
            self.client.writable()

    def data_received(self, data: bytes) -> None:
        """Bytes of a request."""
        if self._state is _State.HEAD:
            self._read_head(data)
        elif self._state is _State.BODY:
            self._read_body(data)
        elif self._state is _State.ANSWER:
            self._keep(data)

    # ---- reading

    def _read_head(self, data: bytes) -> None:
        if not self._buffer:
            self._deadline = self._loop.time() + self._house.limits.head_seconds
            self._buffer = data
        else:
            self._buffer = _joined(self._buffer, data)
        if self._buffer.startswith(b"\r\n"):  # a server should ignore empty lines before a request
            self._buffer = self._buffer.lstrip(b"\r\n")
            self._searched = 0
        end = self._buffer.find(_END_OF_HEAD, max(0, self._searched - len(_END_OF_HEAD) + 1))
        self._searched = 0 if end >= 0 else len(self._buffer)
        if 0 <= end <= self._house.limits.head:
            self._take_head(bytes(self._buffer), end + len(_END_OF_HEAD))
        elif len(self._buffer) > self._house.limits.head:
            self._refuse(errors.head_too_large(self._house.limits.head))

    def _take_head(self, buffer: bytes, end: int) -> None:
        head = self._head = Head()
        try:
            parser = read_head(buffer[:end], head)
            if not self._house.service.takes(head):
                self._hand_over(buffer)
                return
            _check(head)
            self._body = body_of(head, parser, self._house.limits.body)
        except ApiError as error:
            self._refuse(error)
            return
        self._state = _State.BODY
        self._buffer = b""
        self._since = self._loop.time()
        self._deadline = self._since + self._house.limits.body_seconds
        if head.length == 0 or end < len(buffer):
            self._read_body(buffer[end:])
        if self._state is _State.BODY and head.fields.get(b"expect"):
            self._transport.write(_CONTINUE)

    def _read_body(self, data: bytes) -> None:
        if self._head is None or self._body is None:
            raise RuntimeError("a body has a head")
        try:
            whole = self._body.feed(data)
        except ApiError as error:
            self._refuse(error)
            return
        if whole:
            body, self._buffer = self._body.take()
            self._body = None
            self._state = _State.ANSWER
            self._deadline = math.inf
            self._house.service.serve(self._head, body, self)

    def _keep(self, data: bytes) -> None:
        """What comes ahead of its turn; too much of it is dropped, and with it the connection when it can be."""
        if not self._discards:
            self._buffer = _joined(self._buffer, data)
            if len(self._buffer) > self._house.limits.head:
                self._buffer = b""
                self._discards = True

    def _hand_over(self, buffer: bytes) -> None:
        self._state = _State.LAST
        self._buffer = b""
        protocol = self._house.elsewhere()
        self._house.leave(self)
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        protocol.data_received(buffer)

    def _refuse(self, error: ApiError) -> None:
        """The request cannot be read, so nobody knows where the next one would begin."""
        self._state = _State.ANSWER
        self._buffer = b""
        self._body = None
        self._discards = True
        self._house.service.refuse(self._head, error, self)

    # ---- writing

    def send(self, status: int, fields: bytes, body: bytes) -> None:
        """See `Reply.send`."""
        size = b"content-length: %d\r\n" % len(body)
        if self._head is not None and self._head.method == "HEAD":
            body = b""
        self._write(b"".join((status_line(status), self._house.date, fields, size, self._connection(), b"\r\n", body)))
        self._end()

    def begin(self, fields: bytes) -> None:
        """See `Reply.begin`."""
        if self._old:
            self._ends = True  # the end of the connection is the end of the answer
        how = b"" if self._old else _CHUNKED
        self._pending = b"".join((status_line(200), self._house.date, fields, how, self._connection(), b"\r\n"))

    def write(self, data: bytes) -> None:
        """See `Reply.write`."""
        part = data if self._old else chunk(data)
        if self._pending:
            part, self._pending = self._pending + part, b""
        self._write(part)

    def end(self, data: bytes = b"") -> None:
        """See `Reply.end`."""
        last = b"" if self._old else _LAST_CHUNK
        part = (data if self._old else chunk(data)) if data else b""
        self._write(self._pending + part + last)
        self._pending = b""
        self._end()

    def abort(self) -> None:
        """See `Reply.abort`."""
        self._transport.abort()

    @property
    def _old(self) -> bool:
        return self._head is not None and self._head.http10

    def _connection(self) -> bytes:
        """The header field `connection`; decides whether this connection goes on."""
        if self._head is None or not self._head.keep_alive or self._house.service.closing:
            self._ends = True
        if self._ends or self._discards:
            return _CLOSE
        return _KEEP if self._old else b""

    def _write(self, data: bytes) -> None:
        if data and not self._transport.is_closing():
            self._transport.write(data)

    def _end(self) -> None:
        self._written = True
        if not self.paused:
            self._finish()

    def _finish(self) -> None:
        """The answer is with the client, all but what a buffer holds: on to the next request."""
        client, self.client = self.client, None
        self._written = False
        self._head = None
        now = self._loop.time()
        if self._ends or self._discards:
            self._part(now)
        else:
            self._state = _State.HEAD
            self._deadline = now + self._house.limits.idle_seconds
            if self._buffer:
                self._loop.call_soon(self._go_on)
        if client is not None:
            client.sent()

    def _go_on(self) -> None:
        if self._state is _State.HEAD and self._buffer:
            data, self._buffer = bytes(self._buffer), b""
            self._read_head(data)

    # ---- ending

    def _part(self, now: float) -> None:
        """Close; where the client may still be sending, only this side, so that it can read its answer."""
        self._state = _State.LAST
        self._deadline = now + self._house.limits.last_seconds
        self._buffer = b""
        if not self._discards:
            self._transport.close()
        elif self._transport.can_write_eof():
            self._transport.write_eof()

    def close(self) -> None:
        """The server stops."""
        self._transport.close()

    def tick(self, now: float) -> None:
        """Look after the time limits, about every second."""
        if now >= self._deadline:
            self._expire(now)
        if self.client is not None:
            self.client.tick(now)

    def _expire(self, now: float) -> None:
        limits = self._house.limits
        if self._state is _State.LAST:
            self._transport.abort()
        elif self._state is _State.HEAD and not self._buffer:
            self._part(now)
        elif self._state is _State.HEAD or (
            self._body and self._body.received < (now - self._since) * limits.body_rate
        ):
            self._refuse(errors.too_slow())


def _joined(before: bytes | bytearray, data: bytes) -> bytearray:
    joined = before if isinstance(before, bytearray) else bytearray(before)
    joined += data
    return joined


def _check(head: Head) -> None:
    expected = head.fields.get(b"expect", b"")
    if expected.lower() not in {b"", b"100-continue"}:  # one without a value expects nothing
        raise errors.bad_expectation(expected.decode("latin-1"))
    encoding = head.fields.get(b"content-encoding", b"identity").decode("latin-1")
    if encoding.lower() != "identity":
        raise errors.bad_encoding(encoding)
