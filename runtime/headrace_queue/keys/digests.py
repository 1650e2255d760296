"""Keys and tokens as they are made, told and kept.

A key is `hr-<id>-<secret>`: the prefix lets scanners find keys that have leaked, the id lets people name one without
telling it, and the secret is 256 random bits. Only its SHA-256 is kept. A slow hash (argon2, bcrypt) protects secrets
that can be guessed; 256 random bits cannot be, and a slow hash on each request would cost more than all the rest.
"""

import base64
import hashlib
import secrets

PREFIX = "hr"
_INDEX_BYTES = 16


def new_id() -> str:
    """Fifty random bits, as ten letters and digits."""
    return _letters(7)[:10]


def new_key(key_id: str) -> str:
    """The whole key for the id, with a new secret of 256 bits."""
    return f"{PREFIX}-{key_id}-{_letters(32)}"


def digest(secret: str) -> bytes:
    """What is kept of a key or token."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


def index(kept: bytes) -> bytes:
    """The part of a digest that tables are searched by; the whole is then compared in constant time.

    How long the search takes tells nothing that helps: who could choose an input by its SHA-256 would need no key.
    """
    return kept[:_INDEX_BYTES]


def bearer(authorization: str) -> str:
    """The secret of an `Authorization: Bearer SECRET` header; empty if it is none."""
    scheme, _, secret = authorization.partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else ""


def _letters(size: int) -> str:
    return base64.b32encode(secrets.token_bytes(size)).decode().rstrip("=").lower()
