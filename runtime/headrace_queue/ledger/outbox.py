"""The webhook's messages in the database: which is to be sent now, by which replica, and what has come of it."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, delete, func, insert, select, update

from headrace_queue.database.engine import reading
from headrace_queue.ledger.tables import OUTBOX
from headrace_queue.ledger.webhook import MOST_ROWS, new_id

LEASE_SECONDS = 60
"""How long a message that a replica sends is nobody else's; if that replica dies, another one sends it after that."""


@dataclass(frozen=True)
class Message:
    """One to be sent now."""

    id: str
    created_at: float
    attempts: int
    """This one included."""
    rows: int
    body: str


@dataclass(frozen=True)
class Backlog:
    """What is not delivered."""

    rows: int
    oldest: float | None
    """When the oldest message was made."""


def claim(engine: Engine, now: float, make_id: Callable[[], str] = new_id) -> Message | None:
    """The oldest message that is due, for this replica alone; it blocks.

    Messages that were never sent are put together first, as many as fit: a queue with little to do makes one of each.

    Raises:
        SQLAlchemyError: the database is away.
    """
    with engine.begin() as connection:
        due = list(connection.execute(_due(now)))
        if not due:
            return None
        first = due[0]
        together = _that_fit(due) if first.attempts == 0 else [first]
        if len(together) == 1:
            attempts = first.attempts + 1
            values = {"attempts": attempts, "due_at": now + LEASE_SECONDS}
            connection.execute(update(OUTBOX).where(OUTBOX.c.id == first.id).values(values))
            return Message(first.id, first.created_at, attempts, first.rows, first.body)
        return _put_together(connection, together, now, make_id())


def done(engine: Engine, message: Message) -> None:
    """It was accepted."""
    with engine.begin() as connection:
        connection.execute(delete(OUTBOX).where(OUTBOX.c.id == message.id))


def put_off(engine: Engine, message: Message, until: float) -> None:
    """It was not accepted."""
    with engine.begin() as connection:
        connection.execute(update(OUTBOX).where(OUTBOX.c.id == message.id).values(due_at=until))


def backlog(engine: Engine) -> Backlog:
    """What is not delivered."""
    with reading(engine).connect() as connection:
        rows, oldest = connection.execute(select(func.sum(OUTBOX.c.rows), func.min(OUTBOX.c.created_at))).one()
    return Backlog(int(rows or 0), oldest)


def _due(now: float) -> Any:
    due = select(OUTBOX).where(OUTBOX.c.due_at <= now).order_by(OUTBOX.c.due_at).limit(MOST_ROWS)
    return due.with_for_update(skip_locked=True)


def _that_fit(due: list[Any]) -> list[Any]:
    fit: list[Any] = []
    for one in due:
        if one.attempts or sum(each.rows for each in fit) + one.rows > MOST_ROWS:
            break
        fit.append(one)
    return fit


def _put_together(connection: Connection, parts: list[Any], now: float, new: str) -> Message:
    rows = [row for part in parts for row in json.loads(part.body)]
    body = json.dumps(rows, separators=(",", ":"))
    message = Message(new, parts[0].created_at, 1, len(rows), body)
    values = {"id": new, "created_at": message.created_at, "due_at": now + LEASE_SECONDS, "attempts": 1}
    connection.execute(delete(OUTBOX).where(OUTBOX.c.id.in_([part.id for part in parts])))
    connection.execute(insert(OUTBOX).values(**values, rows=len(rows), body=body))
    return message
