"""A billing system that is told of every row: it checks signatures and keeps what it is told."""

import base64
import contextlib
import hashlib
import hmac
import json
import secrets
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.serving import served
from tests.traffic.books import Row

PATH = "/billing"


@dataclass
class Billing:
    """What came."""

    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    messages: set[str] = field(default_factory=set)
    again: int = 0
    """Messages that came a second time, as they may."""
    forged: int = 0
    """Messages with another signature, which are refused."""
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The last word of each request."""
    corrections: int = 0

    @contextlib.asynccontextmanager
    async def listening(self, host: str) -> AsyncIterator[str]:
        """Yields its URL."""
        app = web.Application(client_max_size=2**24)
        app.router.add_post(PATH, self._take)
        async with served(app, host) as port:
            yield f"http://{host}:{port}{PATH}"

    async def _take(self, request: web.Request) -> web.Response:
        body, head = await request.read(), request.headers
        message = head["webhook-id"]
        signed = f"{message}.{head['webhook-timestamp']}.".encode() + body
        proof = base64.b64encode(hmac.digest(self.secret, signed, hashlib.sha256)).decode()
        if not hmac.compare_digest(f"v1,{proof}", head["webhook-signature"]):
            self.forged += 1
            return web.Response(status=401)
        if message in self.messages:
            self.again += 1
            return web.Response()
        self.messages.add(message)
        for row in json.loads(body)["data"]["rows"]:
            self.corrections += row["request_id"] in self.rows
            self.rows[row["request_id"]] = row
        return web.Response()

    def problems(self, rows: Iterable[Row]) -> list[str]:
        """Where what was told and the ledger differ."""
        ledger = {row.request_id: row for row in rows}
        told = {one: (row["key"], row["outcome"], row["completion_tokens"]) for one, row in self.rows.items()}
        wanted = {one: (row.key, row.outcome, row.completion_tokens) for one, row in ledger.items()}
        return [
            *(f"the webhook was not told of {ledger[one]}" for one in wanted.keys() - told.keys()),
            *(f"the webhook was told of {self.rows[one]}, which is no row" for one in told.keys() - wanted.keys()),
            *(
                f"the webhook was told {told[one]} of {ledger[one]}"
                for one in wanted
                if told.get(one, wanted[one]) != wanted[one]
            ),
            *([f"{self.forged} messages of the webhook with a wrong signature"] if self.forged else []),
        ]
