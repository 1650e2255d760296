"""One request's row, and what becomes of two that tell of the same request."""

from typing import NamedTuple

RECEIPT = "receipt"
"""Told by a worker alone: the queue that had the request has died, or has not written its own row yet."""
UNSIGNED = "unsigned"
"""The worker showed no receipt of ours: whose request it was is not known."""
UNCOUNTED = "uncounted"
"""A worker had it, and no count of its tokens has come."""
ESTIMATED = "estimated"
"""The engine's count has not come; `completion_tokens` are the events that were sent, or what the stream told."""
CONTINUED = "continued"
"""Several workers said the answer, one after the other; what one of them counts is a part of it."""
CORRECTED = "corrected"
"""The worker's figures cannot be: what is here is the most (or least) that they can have been."""


class Entry(NamedTuple):
    """A row of the ledger, in the order of its columns but for `day`. Times are seconds since 1970, UTC."""

    request_id: str
    key: str
    """The id of the client's key; empty where there are no keys."""
    model: str
    adapter: str
    worker: str
    """The last that had it; empty where none did."""
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    gpu_seconds: float
    received_at: float
    started_at: float | None
    """When the worker got it."""
    first_token_at: float | None
    ended_at: float
    outcome: str
    """See `outcome.Outcome`."""
    doubt: str = ""
    """Words of this module, separated by spaces: what is not certain of the row."""

    def doubts(self, word: str) -> bool:
        """Whether `doubt` has the word."""
        return word in self.doubt.split()


def merged(there: Entry, told: Entry) -> Entry | None:
    """The row that is right after `told` comes for a request that has the row `there`; None: the same.

    The word of the queue that had the request counts, whichever came first, then that of a worker that had it; tokens
    are taken from whichever of them counted, never from a worker that cannot show that it had the request.
    """
    ours, other = (told, there) if _hearsay(told) < _hearsay(there) else (there, told)
    if _counts_better(other, ours):
        doubt = " ".join(
            [word for word in ours.doubt.split() if word not in {UNCOUNTED, ESTIMATED, CORRECTED}]
            + [word for word in (ESTIMATED, CORRECTED) if other.doubts(word)]
        )
        counted = {name: getattr(other, name) for name in ("prompt_tokens", "cached_tokens", "completion_tokens")}
        both, most = ours.gpu_seconds + other.gpu_seconds, max(ours.gpu_seconds, other.gpu_seconds)
        seconds = both if _is_of_the_same(other, ours) else most  # ours are of other workers, or may have it already
        ours = ours._replace(**counted, gpu_seconds=seconds, doubt=doubt)
    elif not ours.gpu_seconds and _is_of_the_same(other, ours):
        ours = ours._replace(gpu_seconds=other.gpu_seconds)
    return None if ours == there else ours


def _counts_better(other: Entry, ours: Entry) -> bool:
    """Whether the counts of `other` are to be taken: where ours are none, or an estimate of what its engine counted.

    Of two estimates the larger one is nearer: a worker knows what it sent in vain, and how long the prompt was.
    """
    if other.doubts(UNCOUNTED) or other.doubts(UNSIGNED):
        return False
    if ours.doubts(UNCOUNTED):
        return True
    is_more = not other.doubts(ESTIMATED) or other.completion_tokens > ours.completion_tokens
    return is_more and _is_of_the_same(other, ours)


def _is_of_the_same(other: Entry, ours: Entry) -> bool:
    """Whether `other` is the word on that answer which ours lacks.

    A worker that had the request earlier tells of an answer that nobody got, or of a part of one.
    """
    if other.doubts(UNSIGNED) or other.doubts(CORRECTED) or ours.doubts(CONTINUED):
        return False
    return (ours.doubts(ESTIMATED) or ours.doubts(UNCOUNTED)) and other.worker == ours.worker


def _hearsay(entry: Entry) -> int:
    """How far from the request itself the word of it is."""
    return entry.doubts(RECEIPT) + entry.doubts(UNSIGNED)
