"""Keys in the database. Every function runs within the caller's transaction and blocks: never on the event loop."""

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Connection, Row, func, select

from headrace_api.keys import KeyInfo, KeyLimits, KeyRights
from headrace_queue.invalid import in_words
from headrace_queue.keys.digests import digest, new_id, new_key
from headrace_queue.keys.keyring import Key, Secret
from headrace_queue.keys.lock import lock
from headrace_queue.keys.tables import KEYS

_UNREADABLE = (ValueError, TypeError, LookupError)
"""What reading a row raises that is not as this version writes it."""


class UnreadableKeyError(Exception):
    """The row of a key is not as this version writes it."""


@dataclass(frozen=True)
class State:
    """What tells whether a key has changed."""

    count: int
    revision: int


def state(connection: Connection) -> State:
    """As it is now."""
    count, revision = connection.execute(select(func.count(), func.max(KEYS.c.revision)).select_from(KEYS)).one()
    return State(count, revision or 0)


@dataclass(frozen=True)
class Stored:
    """All keys of the database, the oldest first; also those that are revoked."""

    keys: list[Key]
    unreadable: dict[str, str] = field(default_factory=dict)
    """Ids of the rows that cannot be read, as a newer version may write them, and why."""


def read_all(connection: Connection, defaults: KeyLimits, known: Iterable[Key]) -> Stored:
    """Every key; of one whose row cannot be read the rights stay as they are `known`, else it is left out."""
    before, stored = {key.id: key for key in known}, Stored([])
    for row in connection.execute(select(KEYS).order_by(KEYS.c.created_at, KEYS.c.id)):
        try:
            stored.keys.append(_key(row, defaults))
        except _UNREADABLE as error:
            stored.unreadable[row.id] = in_words(error) if isinstance(error, ValidationError) else repr(error)
            with suppress(*_UNREADABLE):
                stored.keys.append(_as_known(before[row.id], row))
    return stored


def create(connection: Connection, rights: KeyRights, now: float) -> tuple[str, KeyInfo]:
    """A new key: the whole of it, which is not kept, and what is."""
    lock(connection)
    key_id = new_id()
    text = new_key(key_id)
    values = {"id": key_id, "rights": rights.model_dump_json(by_alias=True, exclude_defaults=True), "created_at": now}
    secrets = _secrets_text([Secret(digest(text))])
    connection.execute(KEYS.insert().values(**values, secrets=secrets, revision=_next(connection)))
    return text, _info(_row(connection, key_id))


def revoke(connection: Connection, key_id: str, now: float) -> KeyInfo:
    """The key, which is good no longer; one that was revoked before stays as it is.

    Of one whose row cannot be read the rights are not told.

    Raises:
        LookupError: there is none.
    """
    lock(connection)
    if _row(connection, key_id).revoked_at is None:
        change = KEYS.update().where(KEYS.c.id == key_id)
        connection.execute(change.values(revoked_at=now, revision=_next(connection)))
    row = _row(connection, key_id)
    try:
        return _info(row)
    except _UNREADABLE:
        return KeyInfo(id=row.id, models=[], source="database", **_moments(row))


def rotate(connection: Connection, key_id: str, grace_seconds: float, now: float) -> tuple[str, KeyInfo]:
    """The key with a new secret; those before stay good for so long, and never longer than they were.

    Raises:
        LookupError: there is none, or it is revoked.
        UnreadableKeyError: what there is cannot be read, so that it could not be kept.
    """
    lock(connection)
    row = _row(connection, key_id)
    if row.revoked_at is not None:
        raise LookupError(f"the key {key_id} is revoked: create another one")
    try:
        info, secrets = _info(row), _secrets(row.secrets)
    except _UNREADABLE:
        raise UnreadableKeyError(f"the key {key_id} cannot be read, as of a newer version: rotate it there") from None
    text, until = new_key(key_id), now + grace_seconds
    before = [one for one in secrets if one.expires is None or one.expires > now]
    kept = [Secret(one.digest, min(until, one.expires or until)) for one in before] if grace_seconds else []
    values = {"secrets": _secrets_text([Secret(digest(text)), *kept]), "revision": _next(connection)}
    connection.execute(KEYS.update().where(KEYS.c.id == key_id).values(**values))
    return text, info


def _row(connection: Connection, key_id: str) -> Row[Any]:
    row = connection.execute(select(KEYS).where(KEYS.c.id == key_id)).one_or_none()
    if row is None:
        raise LookupError(f"there is no key {key_id} in the database")
    return row


def _next(connection: Connection) -> int:
    return state(connection).revision + 1


def _key(row: Row[Any], defaults: KeyLimits) -> Key:
    info = _info(row)
    return Key(info, _secrets(row.secrets), info.limits.over(defaults))


def _as_known(key: Key, row: Row[Any]) -> Key:
    """The key with the rights that it had: whether it is revoked, and its secrets, are columns of their own."""
    info = key.info.model_copy(update={"revoked": _moment(row.revoked_at)})
    return Key(info, _secrets(row.secrets), key.limits)


def _info(row: Row[Any]) -> KeyInfo:
    return KeyInfo.model_validate({**json.loads(row.rights), **_moments(row), "id": row.id, "source": "database"})


def _moments(row: Row[Any]) -> dict[str, datetime | None]:
    return {"created": _moment(row.created_at), "revoked": _moment(row.revoked_at)}


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _secrets(text: str) -> list[Secret]:
    return [Secret(bytes.fromhex(one["sha256"]), one["expires_at"]) for one in json.loads(text)]


def _secrets_text(secrets: Sequence[Secret]) -> str:
    return json.dumps([{"sha256": one.digest.hex(), "expires_at": one.expires} for one in secrets])
