"""What a client may ask for by headers: a lower priority, and an end of its patience."""

import msgspec
from msgspec.structs import replace

from headrace_queue.errors import ApiError, bad_body
from headrace_queue.exchange import Call

PRIORITY = b"x-headrace-priority"
DEADLINE = b"x-headrace-deadline-seconds"

_WHOLE = msgspec.json.Decoder(int)  # numbers as JSON has them, and so OpenAPI: Python reads 1_0 and infinity, too
_NUMBER = msgspec.json.Decoder(float)


def with_wishes(call: Call, priority: bytes | None, deadline: bytes | None) -> Call:
    """The call with what these headers say.

    Raises:
        ApiError: 400; the message names the header and what is accepted.
    """
    if priority is not None:
        call = replace(call, wished_priority=_whole(priority))
    if deadline is not None:
        call = replace(call, deadline_s=_seconds(deadline))
    return call


def _whole(value: bytes) -> int:
    try:
        return _WHOLE.decode(value)
    except msgspec.DecodeError:
        raise _wrong(PRIORITY, value, "a whole number") from None


def _seconds(value: bytes) -> float:
    try:
        seconds = _NUMBER.decode(value)
    except msgspec.DecodeError:
        seconds = 0.0
    if seconds <= 0:
        raise _wrong(DEADLINE, value, "a number of seconds above 0")
    return seconds


def _wrong(header: bytes, value: bytes, accepted: str) -> ApiError:
    name, said = header.decode(), value[:100].decode("latin-1")
    return bad_body(f"`{name}` is {said!r}: it must be {accepted}.", param=name)
