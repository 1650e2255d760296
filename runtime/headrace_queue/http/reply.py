"""What a connection and those who answer its requests say to each other, and the bytes of a response's head."""

from http import HTTPStatus
from typing import Protocol

JSON = b"content-type: application/json\r\n"
"""A header field, as `Reply.send` and `Reply.begin` take them: each ends with CR LF."""

_STATUS_LINES = {each.value: b"HTTP/1.1 %d %b\r\n" % (each, each.phrase.encode()) for each in HTTPStatus}


class Client(Protocol):
    """Who answers a request that takes time; `sent` or `lost` is called once, and nothing after it."""

    def sent(self) -> None:
        """The end of the answer has been written, and no more of it than a connection's buffer is unread."""

    def lost(self) -> None:
        """The connection has ended before that."""

    def writable(self) -> None:
        """There is room again for what the client has not read."""

    def tick(self, now: float) -> None:
        """About every second, with the event loop's time."""


class Reply(Protocol):
    """The way back to a client, for one answer: `send`, or `begin`, `write` and `end`."""

    client: Client | None
    """Who is told of the connection, from before the answer begins until it has ended."""
    paused: bool
    """Whether much is unread: then nothing should be written until `Client.writable`."""

    def send(self, status: int, fields: bytes, body: bytes) -> None:
        """The whole answer at once."""

    def begin(self, fields: bytes) -> None:
        """The head of an answer with status 200 that comes in parts; it goes out with the first of them."""

    def write(self, data: bytes) -> None:
        """A part of it, at least one byte."""

    def end(self, data: bytes = b"") -> None:
        """Its last part, which may be empty."""

    def abort(self) -> None:
        """Break the connection off; `Client.lost` comes from the event loop, not from within this call."""


def status_line(status: int) -> bytes:
    """The first line of a response."""
    return _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status


def field(name: str, value: str) -> bytes:
    """A header field; both must be without control characters."""
    return f"{name}: {value}\r\n".encode("latin-1", "replace")


def chunk(data: bytes) -> bytes:
    """A part of a body that comes in chunks."""
    return b"%x\r\n%b\r\n" % (len(data), data)
