"""Tells an engine that hangs from one that is busy. Pure; `headrace_worker.health` looks and waits.

An engine hangs when it does not answer its health check, or when it has requests and gives no token, for too long. A
server may answer health checks while the engine behind it stands still, so the first alone is not enough. A long
prompt and an answer that is not streamed give no token for long either: where an engine has metrics, their movement is
progress too.
"""

from dataclasses import dataclass

HUNG_AFTER = 6
"""So many failed health checks in a row: 30 s when they fail at once, 60 s when each of them times out."""


@dataclass(frozen=True)
class Sign:
    """What is seen of an engine at a moment; times are in seconds on one clock."""

    at: float
    answers: bool
    """Whether its health check was good."""
    under_way: int
    """Requests that it has."""
    heard_at: float
    """When anything last came from it in answer to a request."""
    metrics: str | None = None
    """What it counts of its own work, as text; None where it does not say."""


@dataclass(frozen=True)
class Watch:
    """What is known of an engine from all signs so far."""

    seen_at: float
    alive_at: float
    """When it last answered, or was heard of."""
    moved_at: float
    """When it last got on with its work, or had none."""
    failures: int = 0
    """Health checks in a row that failed, with nothing heard meanwhile."""
    metrics: str | None = None

    @property
    def healthy(self) -> bool:
        """Whether the last check was good."""
        return self.failures == 0


def seen(before: Watch, sign: Sign) -> Watch:
    """What is known after one more sign."""
    heard = sign.heard_at >= before.seen_at
    alive = sign.answers or heard
    moved = heard or not sign.under_way or (sign.metrics is not None and sign.metrics != before.metrics)
    return Watch(
        seen_at=sign.at,
        alive_at=sign.at if alive else before.alive_at,
        moved_at=sign.at if moved else before.moved_at,
        failures=0 if alive else before.failures + 1,
        metrics=before.metrics if sign.metrics is None else sign.metrics,
    )


def hung(watch: Watch, longest_s: float) -> str | None:
    """Why the engine must be given up, in words; None while there is hope.

    `longest_s` is how long it may have requests and give no token; 0 stands for ever.
    """
    if watch.failures >= HUNG_AFTER:
        return f"the engine has not answered its health check for {watch.seen_at - watch.alive_at:.0f} s"
    silent_s = watch.seen_at - watch.moved_at
    if longest_s and silent_s >= longest_s:
        return f"the engine has requests and has given no token for {silent_s:.0f} s"
    return None
