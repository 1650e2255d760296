"""What the worker needs of a way to ask an engine."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol


class EngineLostError(RuntimeError):
    """The connection to the engine broke: it cannot be told what became of the request."""


class Answer(Protocol):
    """An answer that has begun."""

    @property
    def status(self) -> int:
        """The HTTP status."""

    def received(self) -> AsyncIterator[bytes]:
        """The body as it comes; raises `EngineLostError`."""


class Transport(Protocol):
    """Asks one engine."""

    def ask(self, path: str, body: bytes) -> AbstractAsyncContextManager[Answer]:
        """Post JSON and wait for the answer's beginning; leaving the context before its end cancels the request.

        Raises:
            EngineLostError: the engine's connection broke.
        """

    async def close(self) -> None:
        """Let go of what is kept open; requests under way are lost."""
