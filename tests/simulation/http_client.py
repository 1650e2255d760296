"""A client's connection: raw HTTP into the queue's real protocol, and its answer, read as fast as it pleases."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from headrace_queue.http.connection import Connection, House

_FULL_BYTES = 600
"""What is written and not read; above, the transport tells the connection to pause."""


@dataclass
class Answer:
    """What has come of an answer."""

    status: int = 0
    body: bytes = b""
    whole: bool = False
    retry_after: int = 0


@dataclass
class Line:
    """The transport of one request's connection, as far as the queue's protocol uses one."""

    house: House
    read_pause_s: float
    ended: Callable[[Answer | None], None]
    """Called once: with the whole answer, or None when the connection broke before that."""
    _data: bytes = b""
    _unread: int = 0
    _told: bool = False
    _closing: bool = False
    _paused: bool = False
    _protocol: Connection = field(init=False)

    def ask(self, request: bytes) -> None:
        self._protocol = Connection(self.house)
        self._protocol.connection_made(self)  # type: ignore[arg-type]
        self._protocol.data_received(request)

    def hang_up(self) -> None:
        """The client leaves."""
        self._told = True
        self.abort()

    @property
    def over(self) -> bool:
        return self._told

    # ---- what the protocol does with its transport

    def write(self, data: bytes) -> None:
        self._data += data
        if self.read_pause_s:
            self._unread += len(data)
            if self._unread > _FULL_BYTES and not self._paused:
                self._paused = True
                self._protocol.pause_writing()
                asyncio.get_running_loop().call_later(self.read_pause_s, self._read)
        answer = read_answer(self._data)
        if answer.whole and not self._told:
            self._told = True
            self.ended(answer)

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self.abort()

    def abort(self) -> None:
        if not self._closing:
            self._closing = True
            asyncio.get_running_loop().call_soon(self._lose)

    def get_write_buffer_size(self) -> int:
        return self._unread

    def _read(self) -> None:
        self._unread = 0
        if not self._closing:
            self._paused = False
            self._protocol.resume_writing()

    def _lose(self) -> None:
        self._protocol.connection_lost(None)
        if not self._told:
            self._told = True
            self.ended(None)


def read_answer(data: bytes) -> Answer:
    """An HTTP answer as far as it has come."""
    head, found, rest = data.partition(b"\r\n\r\n")
    if not found:
        return Answer()
    lines = head.lower().split(b"\r\n")
    fields = dict(line.split(b": ", 1) for line in lines[1:])
    status, retry_after = int(lines[0].split()[1]), int(fields.get(b"retry-after", 0))
    if b"content-length" in fields:
        return Answer(status, rest, len(rest) == int(fields[b"content-length"]), retry_after)
    body = b""
    while rest:
        size, found, behind = rest.partition(b"\r\n")
        length = int(size, 16) if found else 0
        if not found or len(behind) < length + 2:
            break
        if not length:
            return Answer(status, body, whole=True)
        body, rest = body + behind[:length], behind[length + 2 :]
    return Answer(status, body)
