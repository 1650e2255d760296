"""`GET /v1/usage`: what was used, by key, model and day. A key sees its own; who may see all is `Whose`'s to say."""

import asyncio
import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from aiohttp import web
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from headrace_queue.errors import ApiError
from headrace_queue.ledger.usage import SUMS, Row, sums
from headrace_queue.ledger.usage_query import MOST_ROWS, UsageQuery, cursor, read_query

USAGE_PATH = "/v1/usage"

Whose = Callable[[str], str | None]
"""By the `Authorization` header: the id of the key whose usage may be seen, None for everybody's; or an ApiError."""

_CSV = {"Content-Type": "text/csv; charset=utf-8", "Content-Disposition": 'attachment; filename="usage.csv"'}

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""How a cell begins that a spreadsheet may take for a formula; names of adapters and models are the clients' words."""


class UsageApi:
    """The handlers: one for clients with keys, one for those who may see everything."""

    def __init__(self, engine: Engine, whose: Whose) -> None:
        self._engine = engine
        self._whose = whose

    async def for_keys(self, request: web.Request) -> web.StreamResponse:
        """On the public port."""
        return await self._answer(request, request.query, self._whose(request.headers.get("Authorization", "")))

    async def for_all(self, request: web.Request) -> web.StreamResponse:
        """On the admin port."""
        # `kubectl --request-timeout` puts `timeout` into the query, and the API server's proxy passes it on
        parameters = {name: value for name, value in request.query.items() if name != "timeout"}
        return await self._answer(request, parameters, None)

    async def _answer(self, request: web.Request, parameters: Mapping[str, str], key: str | None) -> web.StreamResponse:
        today = datetime.now(UTC).date()
        query = read_query(parameters, request.headers.get("Accept", ""), today)
        if key is not None:
            if query.filters.get("key", key) != key:
                message = f"This key may see its own usage only: `key` must be {key!r}, or be left out."
                raise ApiError(403, "usage_of_others", message, param="key")
            query = query.of_key(key)
        if query.csv:
            return await self._csv(request, query)
        rows = await self._sums(query)
        more = len(rows) > query.limit
        rows = rows[: query.limit]
        data = [{"object": "usage", **row} for row in rows]
        body = {"object": "list", "start": str(query.start), "end": str(query.end), "data": data, "has_more": more}
        if more:
            body["next"] = _after(query, rows)
        return web.json_response(body)

    async def _csv(self, request: web.Request, query: UsageQuery) -> web.StreamResponse:
        """All rows, page by page, unless a limit was asked for."""
        size = MOST_ROWS if query.whole else query.limit
        query = replace(query, limit=size)
        rows = await self._sums(query)
        response = web.StreamResponse(headers=_CSV)
        await response.prepare(request)
        await response.write(_lines([(*query.group_by, *SUMS)]))
        while rows:
            await response.write(_lines([tuple(row[name] for name in (*query.group_by, *SUMS)) for row in rows[:size]]))
            if len(rows) <= size or not query.whole:
                break
            query = replace(query, after=tuple(str(rows[size - 1][name]) for name in query.group_by))
            rows = await self._sums(query)
        await response.write_eof()
        return response

    async def _sums(self, query: UsageQuery) -> list[Row]:
        try:
            return await asyncio.to_thread(sums, self._engine, query)
        except SQLAlchemyError:
            message = "The database cannot be reached. Try again later."
            raise ApiError(503, "usage_unavailable", message, retry=True) from None


def _after(query: UsageQuery, rows: Sequence[Row]) -> str:
    return cursor(tuple(rows[-1][name] for name in query.group_by))


def _lines(rows: Sequence[Sequence[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue().encode()


def _cell(value: object) -> object:
    """As spreadsheets show it, and do not compute it: OWASP's advice against CSV injection."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
