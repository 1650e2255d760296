"""The webhook that tells a billing system of rows: messages in the database, written in the rows' own transaction.

Signed as https://www.standardwebhooks.com describes (version 1.0.0). A message that is not accepted is tried again
until it is: at least once. Its id stays the same over all tries; a request's `request_id` over all messages, should its
row change.
"""

import base64
import binascii
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from sqlalchemy import Connection, insert

from headrace_queue.ledger.entry import Entry
from headrace_queue.ledger.tables import OUTBOX

EVENT = "usage.recorded"
MOST_ROWS = 500
"""Of one message; some 150 kB."""
_SECRET_PREFIX = "whsec_"  # noqa: S105 - the standard's prefix
_SECRET_BYTES = (24, 64)
_FIRST_RETRY_SECONDS = 5
_LONGEST_RETRY_SECONDS = 3600


@dataclass(frozen=True)
class WebhookSettings:
    """Where to, and with which secret."""

    url: str
    secret: bytes


def read_settings(url: str | None, secret: str | None) -> WebhookSettings | None:
    """The webhook that options name; None for none.

    Raises:
        ValueError: one of the two cannot be used, or is missing; the message says what is accepted, and no secret.
    """
    if url is None and secret is None:
        return None
    if url is None or secret is None:
        raise ValueError("give --webhook-url and --webhook-secret, or neither")
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"--webhook-url is {url!r}: it must be http://HOST/PATH or https://HOST/PATH")
    try:
        key = base64.b64decode(secret.removeprefix(_SECRET_PREFIX), validate=True)
    except binascii.Error:
        key = b""
    least, most = _SECRET_BYTES
    if not least <= len(key) <= most:
        wanted = f"{least} to {most} bytes in base64, with or without {_SECRET_PREFIX}"
        raise ValueError(f"--webhook-secret cannot be used: it must be {wanted}")
    return WebhookSettings(url, key)


def enqueue(connection: Connection, entries: Sequence[Entry]) -> None:
    """Write messages of these rows, in the transaction that writes the rows."""
    now = time.time()
    for start in range(0, len(entries), MOST_ROWS):
        rows = entries[start : start + MOST_ROWS]
        body = json.dumps([row._asdict() for row in rows], separators=(",", ":"))
        values = {"id": new_id(), "created_at": now, "due_at": now, "attempts": 0, "rows": len(rows), "body": body}
        connection.execute(insert(OUTBOX).values(values))


def new_id() -> str:
    """The id of a message."""
    return f"msg_{secrets.token_hex(12)}"


def payload(created_at: float, rows: str) -> bytes:
    """What is sent; `rows` is a JSON list."""
    head = json.dumps({"type": EVENT, "timestamp": _iso(created_at)})
    return (head[:-1] + ',"data":{"rows":' + rows + "}}").encode()


def headers(secret: bytes, message: str, body: bytes, now: float) -> dict[str, str]:
    """The headers that prove where a message comes from, and when it was sent."""
    stamp = str(int(now))
    signed = hmac.digest(secret, f"{message}.{stamp}.".encode() + body, hashlib.sha256)
    signature = f"v1,{base64.b64encode(signed).decode()}"
    named = {"webhook-id": message, "webhook-timestamp": stamp, "webhook-signature": signature}
    return {"Content-Type": "application/json", **named}


def retry_after(attempts: int, chance: float) -> float:
    """Seconds until the next try: twice as long after each, up to an hour; `chance`, from 0 to 1, spreads them."""
    return min(_FIRST_RETRY_SECONDS * 2.0 ** min(attempts - 1, 20), _LONGEST_RETRY_SECONDS) * (0.75 + chance / 2)


def _iso(seconds: float) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds % 1 * 1e6):06d}Z"
