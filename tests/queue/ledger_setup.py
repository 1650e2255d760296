"""Rows to write, and a look at those that are written."""

from typing import Any

from sqlalchemy import select

from headrace_queue.database.engine import make_engine
from headrace_queue.ledger.entry import Entry
from headrace_queue.ledger.tables import LEDGER

BLANK = Entry("r", "k", "m", "", "w", 3, 1, 2, 0.5, 1e9, 1e9 + 1, 1e9 + 2, 1e9 + 3, "completed")
COLUMNS = [LEDGER.c[name] for name in Entry._fields]


def entry(request_id: str = "r", **fields: Any) -> Entry:
    return BLANK._replace(request_id=request_id, **fields)


def stored(url: str) -> dict[str, Entry]:
    """The ledger by request id."""
    engine = make_engine(url)
    with engine.connect() as connection:
        rows = [Entry(*row) for row in connection.execute(select(*COLUMNS))]
    engine.dispose()
    found = {row.request_id: row for row in rows}
    assert len(found) == len(rows)
    return found
