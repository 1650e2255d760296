"""Takes rows in on the event loop, without ever blocking it, and tells there when they are committed."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from headrace_queue.ledger.entry import Entry
from headrace_queue.ledger.metrics import LedgerMetrics
from headrace_queue.ledger.writer import Batch, Committed, Write, Writer

GATHER_SECONDS = 0.1
"""How long rows are gathered for one commit, when one has just begun: a commit costs as much as seventy rows."""
MOST_UNWRITTEN = 100_000
"""Rows that wait in memory while the database is away, some 60 MB; then the queue takes no more requests."""


class Recorder(Protocol):
    """What takes rows in."""

    @property
    def full(self) -> bool:
        """Whether so much waits to be written that no more requests can be taken."""

    def record(self, entry: Entry, committed: Committed | None = None) -> None:
        """Write a row; `committed` is called once it is there, also if it was there before."""


class Ledger:
    """Rows on their way to the database."""

    def __init__(
        self,
        metrics: LedgerMetrics,
        log: structlog.typing.FilteringBoundLogger,
        news: Callable[[Sequence[Entry]], None],
    ) -> None:
        self._metrics = metrics
        self._log = log
        self._news = news
        """Told of the rows of each commit that are new or changed."""
        self._writer: Writer | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._gathered: Batch = []
        self._flushing: asyncio.TimerHandle | None = None
        self._last_flush = 0.0
        self._unwritten = 0
        self._clear = asyncio.Event()
        self._clear.set()
        metrics.unwritten.set_function(lambda: self._unwritten)

    def start(self, write: Write) -> None:
        """Write to a database, which is open and has its tables, from now on."""
        self._metrics.up.set(1)
        self._loop = asyncio.get_running_loop()
        self._writer = Writer(write, self._written, self._metrics, self._log)
        self._writer.start()

    @property
    def full(self) -> bool:
        """Whether so much waits to be written that no more requests can be taken."""
        return self._unwritten >= MOST_UNWRITTEN

    def record(self, entry: Entry, committed: Committed | None = None) -> None:
        """Write a row; `committed` is called on the event loop once it is there, also if it was there before."""
        self._gathered.append((entry, committed))
        if not self._unwritten:
            self._clear.clear()
        self._unwritten += 1
        if self._flushing is None and self._loop is not None:
            due = max(self._loop.time(), self._last_flush + GATHER_SECONDS)
            self._flushing = self._loop.call_at(due, self._flush)

    async def flush(self, seconds: float) -> None:
        """Wait until everything is written and told of, for so long at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._clear.wait()

    async def close(self, seconds: float) -> None:
        """Write what is there, for so long at most."""
        self._flush()
        if self._writer is not None:
            await asyncio.to_thread(self._writer.stop, seconds)
            await asyncio.sleep(0)  # what the writer has told the loop
        if self._unwritten:
            self._log.error("rows of the ledger are lost unless a worker tells of them again", rows=self._unwritten)

    def _flush(self) -> None:
        if self._flushing:
            self._flushing.cancel()
            self._flushing = None
        if self._writer is not None and self._loop is not None and self._gathered:
            self._last_flush = self._loop.time()
            batch, self._gathered = self._gathered, []
            self._writer.put(batch)

    def _written(self, batch: Batch, new: Sequence[Entry]) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._tell, batch, new)

    def _tell(self, batch: Batch, new: Sequence[Entry]) -> None:
        self._unwritten -= len(batch)
        for outcome, rows in Counter(entry.outcome for entry in new).items():
            self._metrics.rows.labels(outcome).inc(rows)
        for doubt, rows in Counter(doubt for entry in new for doubt in entry.doubt.split()).items():
            self._metrics.doubtful.labels(doubt).inc(rows)
        self._news(new)
        for _, committed in batch:
            if committed is not None:
                committed()
        if not self._unwritten:
            self._clear.set()
