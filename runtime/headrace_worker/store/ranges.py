"""Ranges of files, poured by threads from connections straight into a file."""

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPResponse

from headrace_worker.store.connections import Connections
from headrace_worker.store.errors import AttemptError, answered
from headrace_worker.store.files import RemoteFile
from headrace_worker.store.source import Sink
from headrace_worker.store.threads import Threads

_PIECE = 2**19
"""Bytes of a body that are read, hashed and written at a time: what of them the CPU's cache holds, at few calls."""
_SLOWEST = 2**18
"""Bytes a second: less is dead, not slow."""
_ERROR = 2**14
"""Bytes of an error that are read."""
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_WHOLE, _PART = 200, 206


@dataclass(frozen=True)
class Range:
    """A range of a file, and where it is asked for."""

    file: RemoteFile
    start: int
    end: int
    """The byte after the last."""
    url: str
    headers: Mapping[str, str]


def latest(patience_s: float, size: int) -> float:
    """Until when so many bytes may come, on the clock of `time.monotonic`."""
    return time.monotonic() + patience_s + size / _SLOWEST


def copy(connections: Connections, wanted: Range, sink: Sink, threads: Threads, patience_s: float) -> None:
    """Give the bytes that a sink lacks to it, in one attempt. Blocks.

    Raises:
        AttemptError: they did not come. Its text has no address: that may be a signed one, which is a secret.
    """
    sent = {**wanted.headers, "Range": f"bytes={wanted.start}-{wanted.end - 1}", "Accept-Encoding": "identity"}
    with connections.get(wanted.url, sent) as answer:
        before, size = _before(answer, wanted), wanted.end - wanted.start
        until = latest(patience_s, before + size)
        for _ in _pieces(answer, before, threads, until):
            pass
        for piece in _pieces(answer, size, threads, until):
            sink.write(piece)


def _pieces(answer: HTTPResponse, size: int, threads: Threads, until: float) -> Iterator[memoryview]:
    """So many bytes of a body, in the same memory each time."""
    buffer, left = memoryview(bytearray(min(_PIECE, size))), size
    while left:
        threads.check()
        got = answer.readinto(buffer[: min(left, _PIECE)])
        if not got or time.monotonic() > until:
            raise AttemptError("passing", f"{size - left} bytes came instead of {size}")
        yield buffer[:got]
        left -= got


def _before(answer: HTTPResponse, wanted: Range) -> int:
    """How many bytes of the answer come before the range: none, but where a server knows no ranges."""
    if answer.status == _PART:
        told = _RANGE.fullmatch(answer.getheader("Content-Range", ""))
        if not told or (int(told[1]), int(told[2]) + 1) != (wanted.start, wanted.end):
            raise AttemptError("passing", "another range came than was asked for")
        size, before = int(told[3]), 0
    elif answer.status == _WHOLE:
        size, before = int(answer.getheader("Content-Length", str(wanted.file.size))), wanted.start
    else:
        raise answered(answer.status, answer.reason, answer.read(_ERROR).decode(errors="replace"))
    if size != wanted.file.size:
        raise AttemptError("changed", f"it has {size} bytes, not {wanted.file.size}")
    return before
