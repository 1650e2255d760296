"""What a key may see of the queue."""

import hmac
from collections.abc import Callable
from dataclasses import dataclass, replace

from headrace_queue.keys.access import KeyAccess
from headrace_queue.keys.digests import bearer


@dataclass(frozen=True)
class Viewer:
    """Who looks."""

    key: str | None
    """The id of the key whose requests and usage are shown; None for those of all keys."""
    may_use: Callable[[str], bool]
    """Whether a model is one of the key's: others are not shown."""
    chats: bool = True
    """Whether requests may be sent with the same key."""


EVERYTHING = Viewer(None, lambda _: True)


def viewer(access: KeyAccess, admin_key: str | None, authorization: str, now: float) -> Viewer:
    """By the header `Authorization`: everything where no key is needed, or with the admin key, which only shows things.

    Raises:
        ApiError: 401, the key is none of ours, or not any more.
    """
    shown = bearer(authorization).encode("utf-8", "surrogateescape")
    if not access.closed:
        return EVERYTHING
    if admin_key is not None and hmac.compare_digest(shown, admin_key.encode()):
        return replace(EVERYTHING, chats=False)
    key = access.ring.find(authorization, now)
    return Viewer(key.id, key.allows)
