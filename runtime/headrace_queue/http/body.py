"""Collects the body of an HTTP request, no more of it than is accepted."""

from typing import Protocol

import httptools
from httptools import HttpRequestParser

from headrace_queue.errors import bad_http, body_too_large
from headrace_queue.http.head import Head

_ALLOWANCE_BYTES = 65_536
"""Beyond twice the bytes that are accepted, for the sizes and extensions of chunks."""


class Body(Protocol):
    """A body on its way in."""

    received: int
    """Bytes that came so far, of whatever kind."""

    def feed(self, data: bytes) -> bool:
        """Take bytes in; True when the body is whole.

        Raises:
            ApiError: 413, it is larger than what is accepted; 400, it is malformed.
        """

    def take(self) -> tuple[bytes, bytes]:
        """The whole body, and what came behind it."""


class Sized:
    """A body whose length the head has told."""

    __slots__ = ("_length", "_parts", "received")

    def __init__(self, length: int) -> None:
        self.received = 0
        self._length = length
        self._parts: list[bytes] = []

    def feed(self, data: bytes) -> bool:
        """See `Body.feed`."""
        self.received += len(data)
        self._parts.append(data)
        return self.received >= self._length

    def take(self) -> tuple[bytes, bytes]:
        """See `Body.take`."""
        data = b"".join(self._parts)
        return data[: self._length], data[self._length :]


class Chunked:
    """A body in chunks, which the parser of the head goes on reading."""

    __slots__ = ("_head", "_limit", "_parser", "_size", "received")

    def __init__(self, head: Head, parser: HttpRequestParser, limit: int) -> None:
        self.received = 0
        self._head = head
        self._parser = parser
        self._limit = limit
        self._size = 0

    def feed(self, data: bytes) -> bool:
        """See `Body.feed`."""
        self.received += len(data)
        known = len(self._head.parts)
        wrong = self._parse(data)
        self._size += sum(map(len, self._head.parts[known:]))
        if self._size > self._limit or self.received > 2 * self._limit + _ALLOWANCE_BYTES:
            raise body_too_large(self._limit)
        if self._head.ended:
            self._head.again |= bool(wrong)  # it is behind this body, so the next request has it
        elif wrong:
            raise bad_http(wrong)
        return self._head.ended

    def _parse(self, data: bytes) -> str:
        """Feed the parser; what is wrong in its words."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            return "the protocol changes"
        except httptools.HttpParserError as error:
            return str(error)
        return ""

    def take(self) -> tuple[bytes, bytes]:
        """See `Body.take`. Where a body in chunks ends is not told, so nothing can follow it on its connection."""
        if self._head.again:
            self._head.keep_alive = False
        return b"".join(self._head.parts), b""


def body_of(head: Head, parser: HttpRequestParser, limit: int) -> Body:
    """What collects the body that `head` announces, of `limit` bytes at most.

    Raises:
        ApiError: 413, it announces more.
    """
    if head.length is None:
        return Chunked(head, parser, limit)
    if head.length > limit:
        raise body_too_large(limit)
    return Sized(head.length)
