"""What a candidate does about the Lease it has read. Pure: no client, no clock.

The rules of client-go's leader election: a Lease counts from the moment at which its change was seen, by the reader's
own clock, so that clocks need not agree. One rule is added for a Lease that is missing: whoever held it may not know
yet, so that nobody but the holder makes it anew before a whole duration has passed.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from headrace_operator.observed import Object


@dataclass(frozen=True)
class Seen:
    """The Lease as it was read last, and what follows from it."""

    lease: Object | None
    """None: there is none."""
    taken_until: float
    """On the reader's clock: until then somebody else may be leading."""

    @property
    def spec(self) -> dict[str, Any]:
        """The Lease's spec; empty where there is none."""
        return (self.lease or {}).get("spec") or {}

    @property
    def holder(self) -> str:
        """Who holds it; empty: nobody."""
        return str(self.spec.get("holderIdentity") or "")


class Step(Enum):
    """What to do next."""

    WAIT = "wait"
    CREATE = "create"
    TAKE = "take"
    """Write one's own name and the time into it: a first time, or again."""


def look(before: Seen | None, lease: Object | None, now: float, seconds: float) -> Seen:
    """What follows from `lease`, read at `now`.

    Args:
        before: what was seen before; None at the first look.
        lease: the Lease; None when there is none.
        now: the reader's clock after the answer came.
        seconds: how long a Lease lasts where it does not say so itself.
    """
    if before is not None and (lease is None) == (before.lease is None) and Seen(lease, 0).spec == before.spec:
        return Seen(lease, before.taken_until)
    if lease is None:
        return Seen(None, now + seconds)
    seen = Seen(lease, now)
    if not seen.holder:
        return seen
    return Seen(lease, now + float(seen.spec.get("leaseDurationSeconds") or seconds))


def step(seen: Seen, me: str, now: float, *, leading: bool) -> Step:
    """What the candidate called `me` does; `leading`: it knows that it leads."""
    if seen.lease is None:
        return Step.CREATE if leading or now >= seen.taken_until else Step.WAIT
    if seen.holder in {"", me} or now >= seen.taken_until:
        return Step.TAKE
    return Step.WAIT


def taken(seen: Seen, me: str, seconds: int, now: datetime) -> dict[str, Any]:
    """The spec of the Lease with `me` as its holder, at the time `now` (UTC), for so many seconds."""
    transitions = int(seen.spec.get("leaseTransitions") or 0)
    if seen.holder == me:
        begun = seen.spec.get("acquireTime") or micro_time(now)
    else:
        begun, transitions = micro_time(now), transitions + (seen.lease is not None)
    return {
        **_foreign(seen),
        "holderIdentity": me,
        "leaseDurationSeconds": seconds,
        "acquireTime": begun,
        "renewTime": micro_time(now),
        "leaseTransitions": transitions,
    }


def released(seen: Seen) -> dict[str, Any]:
    """The spec without a holder, so that the next candidate need not wait."""
    kept = {"leaseDurationSeconds": 1, "leaseTransitions": int(seen.spec.get("leaseTransitions") or 0)}
    return {**_foreign(seen), **kept}


_OURS = frozenset({"holderIdentity", "leaseDurationSeconds", "acquireTime", "renewTime", "leaseTransitions"})


def _foreign(seen: Seen) -> dict[str, Any]:
    return {key: value for key, value in seen.spec.items() if key not in _OURS}


def micro_time(now: datetime) -> str:
    """Kubernetes' MicroTime."""
    return now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
