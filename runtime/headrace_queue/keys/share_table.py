"""The table by which replicas divide limits: one exchange is one transaction, and one at a time.

Every row has a revision, which only grows, since whoever writes has the lock; so a replica reads what is newer than
what it has read, and nothing twice.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Connection, Table, delete, func, or_, select
from sqlalchemy.dialects import postgresql, sqlite

from headrace_queue.keys.counters import DAY
from headrace_queue.keys.lock import lock
from headrace_queue.keys.meter import Kind
from headrace_queue.keys.shares import LIVE_SECONDS, Claim, Row
from headrace_queue.keys.tables import REPLICAS, SHARES

Decide = Callable[[list[Row], Mapping[str, float]], list[Row]]
"""Takes the rows that are new and when each replica was last heard of; gives this replica's rows that have changed."""

_KEPT_SECONDS = 600
"""Longer than any replica that is alive takes to read a row."""


class ShareTable:
    """One replica's end of the table."""

    def __init__(self, replica: str, clock: Callable[[], float]) -> None:
        """`clock` gives seconds since 1970; those of the replicas must agree to a few seconds."""
        self._replica = replica
        self._clock = clock
        self._read = 0
        self._tidied = 0.0

    def exchange(self, connection: Connection, decide: Decide) -> int:
        """Read what is new, and write what `decide` makes of it, within the caller's transaction; blocks.

        Returns what to tell `committed` after the commit.
        """
        now = self._clock()
        lock(connection)
        _put(connection, REPLICAS, [{"replica": self._replica, "heard_at": now}])
        found = connection.execute(select(SHARES).where(SHARES.c.revision > self._read)).all()
        heard = {row.replica: row.heard_at for row in connection.execute(select(REPLICAS))}
        read = max((row.revision for row in found), default=self._read)
        rows = decide([_parsed(row) for row in found], heard)
        if rows:
            last: int = connection.execute(select(func.max(SHARES.c.revision))).scalar() or 0
            read = last + 1
            _put(connection, SHARES, [_values(row, now, read) for row in rows])
        if now - self._tidied > _KEPT_SECONDS:
            self._tidied = now
            _tidy(connection, now)
        return read

    def committed(self, read: int) -> None:
        """What was read up to there is known for good."""
        self._read = read

    def leave(self, connection: Connection) -> None:
        """This replica holds nothing any more; what it has used stays used."""
        gone = REPLICAS.update().where(REPLICAS.c.replica == self._replica)
        connection.execute(gone.values(heard_at=self._clock() - LIVE_SECONDS))


def _parsed(row: Any) -> Row:
    kinds = set(Kind)
    claims = {Kind(kind): Claim(*numbers) for kind, numbers in json.loads(row.claims).items() if kind in kinds}
    return Row(row.replica, row.key_id, row.day, claims)


def _values(row: Row, now: float, revision: int) -> dict[str, Any]:
    claims = {kind.value: (claim.allotted, claim.used, claim.want) for kind, claim in row.claims.items()}
    times = {"day": row.day, "written_at": now, "revision": revision}
    return {"replica": row.replica, "key_id": row.key, "claims": json.dumps(claims), **times}


def _put(connection: Connection, table: Table, values: list[dict[str, Any]]) -> None:
    """Insert rows, or change those that are there."""
    insert = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(table)
    changed = {column.name: insert.excluded[column.name] for column in table.columns if not column.primary_key}
    connection.execute(insert.on_conflict_do_update(index_elements=list(table.primary_key), set_=changed), values)


def _tidy(connection: Connection, now: float) -> None:
    """Take out what nobody needs: rows without claims, those of other days, and replicas that are long gone.

    The newest row stays, or revisions would begin anew.
    """
    heard = select(REPLICAS.c.replica).where(REPLICAS.c.heard_at > now - _KEPT_SECONDS)
    of_the_past = (SHARES.c.day < int(now) // DAY) & SHARES.c.replica.not_in(heard)
    old = (SHARES.c.written_at < now - _KEPT_SECONDS) & or_(SHARES.c.claims == "{}", of_the_past)
    newest = select(func.max(SHARES.c.revision)).scalar_subquery()
    connection.execute(delete(SHARES).where(old, SHARES.c.revision < newest))
    connection.execute(delete(REPLICAS).where(REPLICAS.c.heard_at < now - 2 * DAY))
