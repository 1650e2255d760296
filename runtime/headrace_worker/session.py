"""What both kinds of connection to a queue have in common for the loop that keeps one open."""

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

import aiohttp

BREAKS = (aiohttp.ClientError, ConnectionError)
"""What the tasks of a connection may end with: that it broke is no error."""


class QueueSocket(Protocol):
    """A connection to a queue, as aiohttp's WebSockets are, and `queue_poll.PollSocket`."""

    @property
    def protocol(self) -> str | None:
        """The subprotocol that was agreed on."""

    @property
    def close_code(self) -> int | None:
        """Why it was closed; None while it is open."""

    async def send_str(self, data: str, /) -> None:
        """Send a text frame, waiting while the connection is full."""

    async def send_bytes(self, data: bytes, /) -> None:
        """Send a binary frame, likewise."""

    def __aiter__(self) -> AsyncIterator[aiohttp.WSMessage]:
        """The frames until the connection ends."""

    async def close(self) -> bool:
        """Close it."""


class Session(Protocol):
    """One connection, from its first message to its end."""

    registered: asyncio.Event
    """Set once the queue may send requests."""

    async def run(self) -> None:
        """Serve until the connection ends, for whatever reason."""

    async def finish(self, reason: str, patience_s: float) -> None:
        """Take no more requests, and give those under way `patience_s` seconds; the connection stays."""

    async def drain(self, reason: str, patience_s: float) -> None:
        """Take no more requests, give those under way `patience_s` seconds, account for the rest, and close."""
