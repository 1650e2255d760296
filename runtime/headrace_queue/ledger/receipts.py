"""What a worker is given with a job, to show with its result: whose request it was, signed.

With it any replica can write the row of a request whose own replica has died. The form: 32 hex digits of a BLAKE2b with
a key (RFC 7693) over the request's id and the rest, then the rest, a JSON list. One is made for every job, and BLAKE2b
takes a quarter of the time of an HMAC-SHA256.
"""

import hashlib
import hmac
from typing import NamedTuple

from pydantic_core import from_json, to_json

_DIGITS = 32
_KEY_BYTES = 64
"""The longest key that BLAKE2b takes."""


class Receipt(NamedTuple):
    """What the row of a request needs that its worker does not know."""

    key: str
    model: str
    adapter: str
    received_at: float
    """Seconds since 1970, UTC."""
    request_bytes: int


class Receipts:
    """Makes receipts and reads them again, also those of other replicas that have the same secret."""

    def __init__(self, secret: str) -> None:
        key = secret.encode()
        if len(key) > _KEY_BYTES:
            key = hashlib.blake2b(key).digest()
        self._keyed = hashlib.blake2b(key=key, digest_size=_DIGITS // 2)

    def make(self, request_id: str, receipt: Receipt) -> str:
        """The receipt as a worker gets it."""
        fields = [receipt.key, receipt.model, receipt.adapter, round(receipt.received_at, 3), receipt.request_bytes]
        text = to_json(fields).decode()
        return self._sign(request_id, text) + text

    def read(self, request_id: str, given: str) -> Receipt | None:
        """What it says; None if it is not one that was made, with this secret, for this request."""
        signature, text = given[:_DIGITS], given[_DIGITS:]
        if not signature.isascii() or not hmac.compare_digest(signature, self._sign(request_id, text)):
            return None
        return Receipt(*from_json(text))

    def _sign(self, request_id: str, text: str) -> str:
        signature = self._keyed.copy()
        signature.update(f"{request_id}\n{text}".encode(errors="surrogatepass"))
        return signature.hexdigest()
