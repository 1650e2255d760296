"""The ledger's database, which outlives every queue: a dict instead of SQL, and commits that take their time."""

import asyncio
from collections.abc import Sequence
from random import Random

from headrace_queue.keys.shares import Row
from headrace_queue.ledger.entry import Entry, merged
from headrace_queue.ledger.ledger import Ledger
from headrace_queue.ledger.writer import Batch
from tests.simulation.loop import Process


class Database:
    """Rows by their requests' ids; what becomes of two that tell of the same request is the real code's."""

    def __init__(self) -> None:
        self.rows: dict[str, Entry] = {}
        self.shares: dict[tuple[str, str], Row] = {}
        """What replicas hold of each key's limits, by replica and key."""
        self.heard: dict[str, float] = {}
        """When replicas were last heard of."""

    def write(self, entries: Sequence[Entry]) -> list[Entry]:
        new = []
        for entry in entries:
            there = self.rows.get(entry.request_id)
            row = entry if there is None else merged(there, entry)
            if row is not None:
                self.rows[entry.request_id] = row
                new.append(row)
        return new


class Writer:
    """Instead of the ledger's thread: a commit, and later the news of it, unless the process dies before either."""

    def __init__(self, process: Process, database: Database, ledger: Ledger, rng: Random, slowness: float) -> None:
        self._process = process
        self._database = database
        self._ledger = ledger
        self._rng = rng
        self._slowness = slowness
        self._free_at = 0.0

    def put(self, batch: Batch) -> None:
        loop = asyncio.get_running_loop()
        self._free_at = max(self._free_at, loop.time()) + self._rng.random() * self._slowness
        loop.call_at(self._free_at, self._commit, batch)

    def _commit(self, batch: Batch) -> None:
        if self._process.alive:
            new = self._database.write([entry for entry, _ in batch])
            later = self._rng.random() * self._slowness
            asyncio.get_running_loop().call_later(later, self._tell, batch, new)

    def _tell(self, batch: Batch, new: list[Entry]) -> None:
        if self._process.alive:
            self._ledger._written(batch, new)
