"""What a client may ask for by headers: a lower priority, and an end of its patience."""

import math
from dataclasses import replace

from headrace_queue.exchange import Call
from headrace_queue.keys import refusals


def with_wishes(call: Call, priority: str | None, deadline: str | None) -> Call:
    """The call with what the headers `x-headrace-priority` and `x-headrace-deadline-seconds` say.

    Raises:
        ApiError: 400; the message names the header and what is accepted.
    """
    if priority is not None:
        call = replace(call, wished_priority=_whole(priority))
    if deadline is not None:
        call = replace(call, deadline_s=_seconds(deadline))
    return call


def _whole(value: str) -> int:
    try:
        return int(value)
    except ValueError:
        raise refusals.bad_header(refusals.PRIORITY, value, "a whole number") from None


def _seconds(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds > 0):
        raise refusals.bad_header(refusals.DEADLINE, value, "a number of seconds above 0")
    return seconds
