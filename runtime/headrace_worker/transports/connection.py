"""One HTTP connection to an engine: it tells each answer's sink what comes, straight from the socket."""

import asyncio
from collections.abc import Callable
from typing import Protocol

import httptools

_BUFFER = bytearray(256 * 1024)
"""For all connections: what is read into it has been told before the loop reads again."""
_VIEW = memoryview(_BUFFER)


class Receiver(Protocol):
    """A request whose answer this connection reads."""

    def begun(self, status: int, /) -> None:
        """See `Sink.begun`."""

    def received(self, data: bytes, /) -> None:
        """See `Sink.received`."""

    def ended(self) -> None:
        """See `Sink.ended`."""

    def broken(self, why: str, *, silent: bool) -> None:
        """The connection broke; `silent` when nothing of the answer had come."""


class Connection(asyncio.BufferedProtocol):
    """Kept open for the next request where the engine allows that; `over` is told when it may be used again, or not."""

    def __init__(self, over: "Callable[[Connection, bool], None]") -> None:
        self._over = over
        self._parts: list[bytes] = []
        self.on_body = self._parts.append
        """The parser has found a part of the body: in a stream each token is one, a read has many, and no Python runs
        for each."""
        self._parser = httptools.HttpResponseParser(self)
        self._receiver: Receiver | None = None
        self._silent = True
        self._framed = False
        """Whether the answer says itself where it ends; otherwise it ends with the connection."""
        self._keep = False
        self._why = ""

    # ---- for the pool

    def send(self, request: bytes, receiver: Receiver) -> None:
        """Send a request; the connection must be idle."""
        self._receiver, self._silent = receiver, True
        self.transport.write(request)

    def abort(self) -> None:
        """Break off what is under way without telling of it."""
        self._receiver = None
        self.transport.abort()

    # ---- for the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.BaseProtocol`."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 (for the type checker)
        self.transport = transport

    def get_buffer(self, _: int) -> memoryview:
        """See `asyncio.BufferedProtocol`."""
        return _VIEW

    def buffer_updated(self, size: int) -> None:
        """See `asyncio.BufferedProtocol`."""
        self._silent = False
        try:
            self._parser.feed_data(_VIEW[:size])
        except httptools.HttpParserError as error:
            self._why = f"{type(error).__name__}: {error}"
            self.transport.abort()
        if self._parts:
            self._tell()

    def _tell(self) -> None:
        """Pass on what has been read of the body."""
        data = b"".join(self._parts)
        self._parts.clear()
        if self._receiver:
            self._receiver.received(data)

    def connection_lost(self, error: Exception | None) -> None:
        """See `asyncio.BaseProtocol`."""
        receiver, self._receiver = self._receiver, None
        self._over(self, False)
        if receiver is None:
            return
        if self._keep_reading_until_end() and error is None:
            receiver.ended()
        else:
            why = self._why or (f"{type(error).__name__}: {error}" if error else "the engine closed its connection")
            receiver.broken(why, silent=self._silent)

    def _keep_reading_until_end(self) -> bool:
        return not self._silent and not self._framed and not self._why and self._has_head

    # ---- for the parser

    _has_head = False

    def on_message_begin(self) -> None:
        """The parser has found a response's first line."""
        self._framed = self._has_head = False

    def on_header(self, name: bytes, _: bytes) -> None:
        """The parser has found a header."""
        if name.lower() in {b"content-length", b"transfer-encoding"}:
            self._framed = True

    def on_headers_complete(self) -> None:
        """The parser has found the end of the head."""
        self._has_head = True
        self._keep = self._parser.should_keep_alive()  # after the message it would always say no
        if self._receiver:
            self._receiver.begun(self._parser.get_status_code())

    def on_message_complete(self) -> None:
        """The parser has found the end of the response."""
        if self._parts:
            self._tell()
        receiver, self._receiver = self._receiver, None
        if self._keep:
            self._over(self, True)
        else:
            self.transport.close()
        if receiver:
            receiver.ended()
