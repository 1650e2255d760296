"""How a request can end, as the ledger calls it."""

from typing import Literal

Outcome = Literal["completed", "partial", "cancelled", "refused", "unserved", "timed_out", "failed"]
"""completed: the whole answer; partial: it broke off; cancelled: the client left; refused: the request, or one more,
was not accepted; unserved: no worker took it in time, or the queue stopped; timed_out: the answer took too long;
failed: workers did not answer."""

_NAMED: dict[int, Outcome] = {200: "completed", 499: "cancelled", 503: "unserved", 504: "timed_out"}


def outcome(status: int, *, sent: bool) -> Outcome:
    """By the HTTP status that the request ended with; `sent` tells whether the client had a part of its answer."""
    if sent and status not in {200, 499, 504}:
        return "partial"
    return _NAMED.get(status) or ("refused" if 400 <= status < 500 else "failed")
