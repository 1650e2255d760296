"""Writes entries into the database: each request's row once, whoever tells of it and how often."""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Engine, select, update
from sqlalchemy.dialects import postgresql, sqlite

from headrace_queue.ledger.entry import Entry, merged
from headrace_queue.ledger.tables import LEDGER

_COLUMNS = [LEDGER.c[name] for name in Entry._fields]
_DAY_SECONDS = 86_400
_LONGEST = 200
"""Characters of a text: an index of PostgreSQL takes 2,700 bytes."""

Also = Callable[[Connection, Sequence[Entry]], None]
"""Writes something more in the same transaction."""


class LedgerRows:
    """The table, for one kind of database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        psycopg: Any = postgresql.psycopg
        dialect: Any = psycopg.dialect(paramstyle="format")
        statement: Any = postgresql.insert(LEDGER).on_conflict_do_nothing()
        if engine.dialect.name == "sqlite":
            dialect, statement = engine.dialect, sqlite.insert(LEDGER).on_conflict_do_nothing()
        names = ["request_id", "day", *Entry._fields[1:]]
        self._insert = str(statement.compile(dialect=dialect, column_keys=names))

    def write(self, told: Sequence[Entry], also: Also) -> list[Entry]:
        """Write them, and in the same transaction what `also` makes of those that are new or changed.

        Most often all are new, and one statement does it. Returns those that are new or changed.
        """
        entries = _folded(map(storable, told))
        with self._engine.connect() as connection, connection.begin() as transaction:
            if self._add(connection, entries) == len(entries):
                also(connection, entries)
                return entries
            transaction.rollback()
        with self._engine.begin() as connection:
            entries = self._merge(connection, entries)
            also(connection, entries)
        return entries

    def _add(self, connection: Connection, entries: Sequence[Entry]) -> int:
        # not by the statement itself: SQLAlchemy's handling of each parameter costs more than SQLite's insert
        return connection.exec_driver_sql(self._insert, [_parameters(entry) for entry in entries]).rowcount

    def _merge(self, connection: Connection, entries: Sequence[Entry]) -> list[Entry]:
        there = {entry.request_id: entry for entry in _find(connection, entries)}
        new = [entry for entry in entries if entry.request_id not in there]
        with connection.begin_nested() as savepoint:
            added = self._add(connection, new) if new else 0
            if added != len(new):
                savepoint.rollback()
        if added != len(new):
            return self._merge(connection, entries)  # another replica was quicker
        merges = [merged(there[entry.request_id], entry) for entry in entries if entry.request_id in there]
        changed = [entry for entry in merges if entry is not None]
        for entry in changed:
            values = entry._asdict() | {"day": date.fromisoformat(day_of(entry.ended_at))}
            connection.execute(update(LEDGER).where(LEDGER.c.request_id == entry.request_id).values(values))
        return new + changed


def storable(entry: Entry) -> Entry:
    """The entry with texts that every database takes: not too long, without NUL and broken characters."""
    changes = {
        name: value[:_LONGEST].replace("\0", "").encode(errors="replace").decode()
        for name in ("request_id", "key", "model", "adapter", "worker")
        if len(value := getattr(entry, name)) > _LONGEST or not value.isprintable()
    }
    return entry._replace(**changes) if changes else entry


def day_of(seconds: float) -> str:
    """The day in UTC, YYYY-MM-DD."""
    return _day(int(seconds // _DAY_SECONDS))


def _folded(entries: Iterable[Entry]) -> list[Entry]:
    """One for each request."""
    found: dict[str, Entry] = {}
    for entry in entries:
        there = found.get(entry.request_id)
        found[entry.request_id] = entry if there is None else merged(there, entry) or there
    return list(found.values())


def _find(connection: Connection, entries: Iterable[Entry]) -> Iterable[Entry]:
    ids = [entry.request_id for entry in entries]
    found = connection.execute(select(*_COLUMNS).where(LEDGER.c.request_id.in_(ids)).with_for_update())
    return [Entry(*row) for row in found]


def _parameters(entry: Entry) -> tuple[Any, ...]:
    return (entry[0], day_of(entry.ended_at), *entry[1:])


@lru_cache(maxsize=16)
def _day(number: int) -> str:
    return datetime.fromtimestamp(number * _DAY_SECONDS, UTC).date().isoformat()
