"""The thread that writes the ledger, so that a slow database holds up nothing but the ledger."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

import structlog
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from headrace_queue.ledger.entry import Entry
from headrace_queue.ledger.metrics import LedgerMetrics

_MOST_ROWS = 1000
"""Of one transaction."""
_FIRST_WAIT_SECONDS = 0.1
_LONGEST_WAIT_SECONDS = 5

Committed = Callable[[], None]
Batch = list[tuple[Entry, Committed | None]]
Write = Callable[[Sequence[Entry]], list[Entry]]
"""Commits entries and returns those that are new or changed."""


@dataclass
class Writer:
    """Writes batches in their order, for as long as it takes; `written` is called, on its thread, after each commit."""

    write: Write
    written: Callable[[Batch, list[Entry]], None]
    metrics: LedgerMetrics
    log: structlog.typing.FilteringBoundLogger
    _batches: "SimpleQueue[Batch | None]" = field(default_factory=SimpleQueue)
    _stop: threading.Event = field(default_factory=threading.Event)
    _ended: bool = False
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin."""
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._thread.start()

    def put(self, batch: Batch) -> None:
        """Write this, too."""
        self._batches.put(batch)

    def stop(self, seconds: float) -> None:
        """Write what is there, for so long at most; it blocks. What is not written by then is given up."""
        self._batches.put(None)
        if self._thread:
            self._thread.join(seconds)
            self._stop.set()
            self._thread.join()

    def _run(self) -> None:
        while not self._ended and (batch := self._batches.get()) is not None:
            self._take_more(batch)
            new = self._persist([entry for entry, _ in batch])
            if new is None:
                return
            self.written(batch, new)

    def _take_more(self, batch: Batch) -> None:
        while len(batch) < _MOST_ROWS:
            try:
                more = self._batches.get_nowait()
            except Empty:
                return
            if more is None:
                self._ended = True
                return
            batch += more

    def _persist(self, entries: Sequence[Entry]) -> list[Entry] | None:
        """Commit, however long the database is away; None when the program ends before."""
        wait, away = _FIRST_WAIT_SECONDS, False
        while True:
            try:
                with self.metrics.commit_seconds.time():
                    new = self.write(entries)
            except (DataError, IntegrityError, ValueError, TypeError, OverflowError):
                taken = self._one_by_one(entries)
                if taken is None:
                    continue
                new = taken
            except SQLAlchemyError as error:
                if not away:
                    self.log.error("the ledger cannot be written; rows wait", error=_words(error))  # noqa: TRY400
                away = True
                self.metrics.up.set(0)
                if self._stop.wait(wait):
                    return None
                wait = min(wait * 2, _LONGEST_WAIT_SECONDS)
                continue
            self.metrics.up.set(1)
            if away:
                self.log.info("the ledger is written again")
            return new

    def _one_by_one(self, entries: Sequence[Entry]) -> list[Entry] | None:
        """All but those that the database does not take, which are logged whole; None when it is away."""
        new = []
        for entry in entries:
            try:
                new += self.write([entry])
            except (DataError, IntegrityError, ValueError, TypeError, OverflowError) as error:
                self.metrics.rejected.inc()
                self.log.error("a row cannot be stored", row=entry._asdict(), error=_words(error))  # noqa: TRY400
            except SQLAlchemyError:
                return None
        return new


def _words(error: Exception) -> str:
    return str(getattr(error, "orig", None) or error).strip()
