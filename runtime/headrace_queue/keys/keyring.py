"""The keys that are accepted, from the keys file and the database, found by what a client presents."""

import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field

from headrace_api.keys import KeyEntry, KeyInfo, KeyLimits, KeyRights
from headrace_queue.keys import refusals
from headrace_queue.keys.digests import bearer, digest, index
from headrace_queue.keys.patterns import matcher


@dataclass(frozen=True)
class Secret:
    """What is kept of a key's secret."""

    digest: bytes = field(repr=False)
    expires: float | None = None
    """For one that has been replaced: until when it is good all the same, in seconds since 1970."""


class Key:
    """One key."""

    def __init__(self, info: KeyInfo, secrets: Iterable[Secret], limits: KeyLimits) -> None:
        self.info = info
        self.id = info.id
        self.secrets = tuple(secrets)
        self.limits = limits
        """With the defaults where the key itself says nothing."""
        self.allows = matcher(info.models)
        """Whether it may ask for this model name."""
        self.expires = info.expires_at()


class Keyring:
    """All keys; never changed, but replaced by another one."""

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        """Of two keys with the same id or secret the first one is taken."""
        self.keys: dict[str, Key] = {}
        self._found: dict[bytes, tuple[Secret, Key]] = {}
        for key in keys:
            if self.keys.setdefault(key.id, key) is key:
                for secret in key.secrets:
                    self._found.setdefault(index(secret.digest), (secret, key))

    def find(self, authorization: str, now: float) -> Key:
        """The key that an `Authorization` header has.

        Raises:
            ApiError: 401; there is none, it is not known, or not good any more.
        """
        presented = bearer(authorization)
        if not presented:
            raise refusals.no_key()
        kept = digest(presented)
        found = self._found.get(index(kept))
        if found is None or not hmac.compare_digest(found[0].digest, kept):
            raise refusals.unknown_key(presented)
        secret, key = found
        if key.info.revoked is not None:
            raise refusals.ended_key(key.id, "has been revoked")
        if secret.expires is not None and secret.expires <= now:
            raise refusals.ended_key(key.id, "has another secret now: this one is no longer good")
        if key.expires is not None and key.expires <= now:
            raise refusals.ended_key(key.id, "has expired")
        return key


def from_file(entries: Iterable[KeyEntry], defaults: KeyLimits) -> list[Key]:
    """The keys of a keys file."""
    keys = []
    for one in entries:
        rights = one.model_dump(include=set(KeyRights.model_fields))
        secrets = [Secret(digest(text) if text else bytes.fromhex(kept)) for text, kept in one.secrets("key")]
        keys.append(Key(KeyInfo(**rights, id=one.id, source="file"), secrets, one.limits.over(defaults)))
    return keys
