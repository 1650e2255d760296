"""The ids of requests: one of the queue's own, never used twice, and one that a client may bring for its books."""

import itertools
import re
import secrets

from headrace_queue import errors

HEADER = "x-request-id"

_VISIBLE = re.compile(rb"[\x21-\x7e]{1,512}")
"""As OpenAI has it for an id of the client's: ASCII, up to 512 characters."""


class RequestIds:
    """Makes ids that no other queue and no earlier start of this one makes: 80 random bits, then a number."""

    def __init__(self) -> None:
        self._start = secrets.token_hex(10)
        self._numbers = itertools.count(1)

    def new(self) -> str:
        """The next one: 32 characters, 0 to 9 and a to f."""
        return f"{self._start}{next(self._numbers):012x}"


def told_to_client(own: str, brought: bytes | None) -> str:
    """The id that the answer's header has: the client's, if it brought one.

    Raises:
        ApiError: 400, it cannot be used.
    """
    if brought is not None and not _VISIBLE.fullmatch(brought):
        raise errors.bad_request_id(brought.decode("latin-1"))
    return told_in_any_case(own, brought)


def told_in_any_case(own: str, brought: bytes | None) -> str:
    """The same of an answer that says something else: the client's id if it can be used, else the queue's own."""
    return own if brought is None or not _VISIBLE.fullmatch(brought) else brought.decode()
