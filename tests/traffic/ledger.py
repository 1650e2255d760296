"""The ledger as PostgreSQL has it, read past the queue."""

from dataclasses import fields

import psycopg

from tests.traffic.books import Row

_COLUMNS = ", ".join(one.name for one in fields(Row))


def rows(url: str) -> list[Row]:
    """Every row."""
    with psycopg.connect(url) as connection:
        return [Row(*one) for one in connection.execute(f"SELECT {_COLUMNS} FROM ledger".encode())]  # noqa: S608 (our own names)


def undelivered(url: str) -> int:
    """How many messages the webhook has not been told."""
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT count(*) FROM webhook_outbox").fetchone()
    return int(found[0]) if found else 0
