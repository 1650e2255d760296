"""Sums over the ledger."""

from datetime import date
from typing import Any

from sqlalchemy import ColumnElement, Engine, func, select, tuple_
from sqlalchemy import literal as bound

from headrace_queue.database.engine import reading
from headrace_queue.ledger.tables import LEDGER
from headrace_queue.ledger.usage_query import UsageQuery

SUMS = ("requests", "prompt_tokens", "cached_tokens", "completion_tokens", "gpu_seconds", "doubtful")
"""What each row has beside its groups; `doubtful`: rows of the ledger of which something is not certain."""

Row = dict[str, Any]


def sums(engine: Engine, query: UsageQuery) -> list[Row]:
    """The rows, one more than `limit` if there are more; it blocks.

    Raises:
        SQLAlchemyError: the database is away.
    """
    groups: list[ColumnElement[Any]] = [LEDGER.c[name] for name in query.group_by]
    statement = (
        select(*groups, *_sums())
        .where(LEDGER.c.day.between(query.start, query.end))
        .where(*(LEDGER.c[name] == value for name, value in query.filters.items()))
        .group_by(*groups)
        .order_by(*groups)
        .limit(query.limit + 1)
    )
    if query.after is not None:
        seen = [
            bound(date.fromisoformat(value) if name == "day" else value)
            for name, value in zip(query.group_by, query.after, strict=True)
        ]
        statement = statement.where(tuple_(*groups) > tuple_(*seen))
    with reading(engine).connect() as connection:
        return [_row(query, found) for found in connection.execute(statement)]


def _sums() -> list[ColumnElement[Any]]:
    total = LEDGER.c
    return [
        func.count(),
        *(func.sum(total[name]) for name in ("prompt_tokens", "cached_tokens", "completion_tokens", "gpu_seconds")),
        func.count().filter(total.doubt != ""),
    ]


def _row(query: UsageQuery, found: Any) -> Row:
    values = list(found)
    groups = {name: str(value) for name, value in zip(query.group_by, values, strict=False)}
    numbers = values[len(groups) :]
    exact = {name: int(value) for name, value in zip(SUMS, numbers, strict=True) if name != "gpu_seconds"}
    return {**groups, **exact, "gpu_seconds": round(float(numbers[SUMS.index("gpu_seconds")]), 6)}
