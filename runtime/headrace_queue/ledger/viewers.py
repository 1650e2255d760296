"""Whose usage somebody may see, by the key that is shown."""

import hmac

from headrace_queue.keys.access import KeyAccess
from headrace_queue.keys.digests import bearer


def whose_usage(access: KeyAccess, admin_key: str | None, authorization: str, now: float) -> str | None:
    """The id of the key whose usage may be seen; None for everybody's: with the admin key, or where no key is needed.

    Raises:
        ApiError: 401, the key is none of ours, or not any more.
    """
    shown = bearer(authorization).encode("utf-8", "surrogateescape")
    if admin_key is not None and hmac.compare_digest(shown, admin_key.encode()):
        return None
    return access.ring.find(authorization, now).id if access.closed else None
