"""What the worker needs of a way to ask an engine."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol


class EngineLostError(RuntimeError):
    """The connection to the engine broke: it cannot be told what became of the request."""


class Sink(Protocol):
    """Who is told of an answer, on the event loop and at once: no task is woken for a token. No method may block."""

    def begun(self, status: int, /) -> None:
        """The answer has an HTTP status."""

    def received(self, data: bytes, /) -> None:
        """Bytes of its body."""

    def ended(self) -> None:
        """It is complete; nothing more is told."""

    def lost(self, why: str, /) -> None:
        """The engine's connection broke before the answer was complete; nothing more is told."""


class Asking(Protocol):
    """A request under way."""

    def cancel(self) -> None:
        """Stop it: the engine is told by the end of its connection, the sink is told nothing more."""

    def pause(self) -> None:
        """Let the engine wait: no more than what is already here is told until `resume`."""

    def resume(self) -> None:
        """Go on."""


class Answer(Protocol):
    """An answer that has begun, for those who await it."""

    @property
    def status(self) -> int:
        """The HTTP status."""

    def received(self) -> AsyncIterator[bytes]:
        """The body as it comes; raises `EngineLostError`."""


class Transport(Protocol):
    """Asks one engine."""

    def start(self, path: str, body: bytes, sink: Sink, /) -> Asking:
        """Post JSON; the sink is told of the answer, but never before this returns."""

    def ask(self, path: str, body: bytes, /) -> AbstractAsyncContextManager[Answer]:
        """Post JSON and wait for the answer's beginning; leaving the context before its end cancels the request.

        Raises:
            EngineLostError: the engine's connection broke.
        """

    async def close(self) -> None:
        """Let go of what is kept open; requests under way are lost."""
