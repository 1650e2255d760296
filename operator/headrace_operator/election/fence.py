"""The last look before a write leaves the process.

Between the decision to write and the first byte on the wire a request waits: for a connection, for its turn in the
event loop. A process that is stopped there would, when it wakes, send what it was allowed to send long ago. So each
write asks again at the moment at which its bytes are handed to the connection; nothing is awaited after that.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.connector import Connection

_MayWrite = Callable[[], bool]
_may_write: ContextVar[_MayWrite | None] = ContextVar("may_write", default=None)


@contextmanager
def fenced(may_write: _MayWrite) -> Iterator[None]:
    """Send what is sent in this block only while `may_write` says so."""
    token = _may_write.set(may_write)
    try:
        yield
    finally:
        _may_write.reset(token)


class FencedRequest(aiohttp.ClientRequest):
    """A request whose head and body, which leave together, leave only while they may; else the connection is closed."""

    async def write_bytes(
        self, writer: AbstractStreamWriter, conn: Connection, content_length: int | None = None
    ) -> None:
        """Hand head and body over, or close the connection."""
        may_write = _may_write.get()
        if may_write is not None and not may_write():
            conn.close()  # whoever waits for the answer hears that there is none
            return
        await super().write_bytes(writer, conn, content_length)
