"""What the design allows: failures that something explains, requests without a row, outcomes that fit an end."""

from collections.abc import Sequence

from headrace_queue.ledger.entry import RECEIPT
from tests.traffic.books import FAILURES, WORKER_LOST, Act, Asked, Disturbance, End, Row

MAX_ATTEMPTS = 3
"""The queue's default: so many workers may fail a request."""
_RETELLING_S = 5.0
"""Within which a worker that outlives its queue tells another one; it does not if it is killed before."""
_COMMIT_S = 2.0
"""A queue that is killed so soon after an answer may not have written its row."""
_DYING_S = 0.5
"""What is sent to a queue so soon after its kill may still find its socket open."""

_BY_CODE = {
    "draining": {"unserved"},
    "stopped": {"unserved", "partial"},
    "no_worker": {"unserved"},
    "queue_timeout": {"refused"},
    "too_many_attempts": {"failed"},
    "worker_lost": {"failed", "partial"},
    "response_broken_off": {"partial"},
}
_BY_END = {
    End.COMPLETE: {"completed"},
    End.LEFT: {"cancelled", "completed"},
    # told by the worker: the queue that had it is gone
    End.BROKEN: {"completed", "partial", "cancelled"},
}


def outcomes(asked: Asked, row: Row, acts: Sequence[Disturbance]) -> set[str]:
    """The outcomes that this row of the request may have."""
    if asked.end is End.LEFT and RECEIPT in row.doubt.split() and _queue_killed(asked, acts):
        # a worker alone has told it, and its queue may not have come to tell it that the client had left
        return _BY_END[End.LEFT] | {"partial"}
    return _BY_END.get(asked.end) or _BY_CODE.get(asked.code, set())


def explained(asked: Asked, acts: Sequence[Disturbance]) -> str | None:
    """What explains a request's failure; empty where there is none, None: nothing that the design allows."""
    if asked.end not in FAILURES:
        return ""
    during = _during(acts, asked.sent_at, asked.ended_at)
    kinds = {one.act for one in during}
    if asked.end in {End.BROKEN, End.REFUSED} and Act.QUEUE_KILLED in kinds:
        return f"{asked.end}: {Act.QUEUE_KILLED}"
    if asked.code in {"draining", "stopped"} and Act.QUEUE_ROLLED in kinds:
        return f"{asked.code}: {Act.QUEUE_ROLLED}"
    lost = sum(one.act in WORKER_LOST for one in during)
    return _by_workers(asked, lost, rolled=Act.QUEUE_ROLLED in kinds) if lost else None


def _by_workers(asked: Asked, lost: int, *, rolled: bool) -> str | None:
    if asked.code in {"worker_lost", "response_broken_off"} and not asked.continuable:
        return f"{asked.code}: worker or engine killed in the middle of a stream that cannot be continued"
    if asked.code == "worker_lost" and rolled:
        return "worker_lost: worker or engine killed while its queue stops, from which no worker takes anything more"
    if asked.code == "too_many_attempts" and lost >= MAX_ATTEMPTS:
        return f"too_many_attempts: {lost} workers or engines killed"
    return None


def rowless(asked: Asked, acts: Sequence[Disturbance]) -> str | None:
    """Why a request may have no row; None: it must have one."""
    if asked.end is End.REFUSED:
        return "never reached a queue"
    if asked.code == "draining":
        return "refused by a queue that drains, before it was let in"
    killed = _queue_killed(asked, acts)
    if asked.end is End.BROKEN and not asked.begun and killed:
        return "its queue was killed, and nothing shows that a worker had it"
    recent = _during(acts, asked.sent_at, asked.ended_at + _RETELLING_S)
    if killed and any(one.act in WORKER_LOST for one in recent):
        return "its queue was killed, and a worker before it could tell"
    return None


def _during(acts: Sequence[Disturbance], start: float, end: float) -> list[Disturbance]:
    return [one for one in acts if one.began_at <= end and one.ended_at >= start]


def _queue_killed(asked: Asked, acts: Sequence[Disturbance]) -> bool:
    first, last = asked.sent_at - _DYING_S, asked.ended_at + _COMMIT_S
    return any(one.act is Act.QUEUE_KILLED and first <= one.began_at <= last for one in acts)
