"""What both kinds of connection to a queue have in common for the loop that keeps one open."""

import asyncio
from typing import Protocol


class Session(Protocol):
    """One connection, from its first message to its end."""

    registered: asyncio.Event
    """Set once the queue may send requests."""

    async def run(self) -> None:
        """Serve until the connection ends, for whatever reason."""

    async def drain(self, reason: str, patience_s: float) -> None:
        """Take no more requests, give those under way `patience_s` seconds, account for the rest, and close."""
