"""How far a download is: numbers for whoever shows them, and a line in the log every ten seconds."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace

import structlog

from headrace_worker.tasks import end

_LOG_S = 10.0

log = structlog.get_logger()


@dataclass(frozen=True)
class Progress:
    """How far it is."""

    done_bytes: int = 0
    total_bytes: int | None = None
    """None as long as it is not known."""
    file: str = ""
    """The file that was worked on last."""
    detail: str = ""
    """For people, where there is more to say than the file."""


Show = Callable[[Progress], None]
"""Told of every change; whoever gets it passes on as few of them as is bearable."""


class Tracker:
    """Adds up what many downloads at the same time have done."""

    def __init__(self, show: Show) -> None:
        self._show = show
        self.now = Progress()

    def set(self, progress: Progress) -> None:
        """Replace all of it."""
        self.now = progress
        self._show(progress)

    def add(self, size: int, file: str) -> None:
        """So many more bytes are there; fewer, when it turned out that they were wrong."""
        self.set(replace(self.now, done_bytes=self.now.done_bytes + size, file=file))

    def say(self, detail: str) -> None:
        """What is being done."""
        self.set(replace(self.now, detail=detail))


@contextlib.asynccontextmanager
async def logged(tracker: Tracker, source: str) -> AsyncIterator[None]:
    """While inside, say in the log every ten seconds how far it is."""
    task = asyncio.create_task(_log_regularly(tracker, source))
    try:
        yield
    finally:
        await end(task)


async def _log_regularly(tracker: Tracker, source: str) -> None:
    before, then = tracker.now.done_bytes, time.monotonic()
    while True:
        await asyncio.sleep(_LOG_S)
        now, clock = tracker.now, time.monotonic()
        log.info(
            "fetching the model",
            source=source,
            done_bytes=now.done_bytes,
            total_bytes=now.total_bytes,
            bytes_per_second=round((now.done_bytes - before) / (clock - then)),
            file=now.file,
            detail=now.detail,
        )
        before, then = now.done_bytes, clock
