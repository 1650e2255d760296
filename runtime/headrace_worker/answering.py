"""What the worker makes of an engine's answer while it comes: pieces for the client, the usage, and how it ended."""

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from headrace_api.wire import Usage
from headrace_worker.sse import UsageTap, usage_of

Emit = Callable[[bytes], None]


_OF_REQUESTS = ("BadRequestError", "invalid_request_error")
"""The types of errors that are the request's own, where an engine tells no code."""


class Outcome(NamedTuple):
    """How a request ended: `body` is the error, where it is one."""

    status: int
    usage: Usage | None = None
    body: dict[str, Any] | None = None
    doubtful: bool = False
    """Whether it may be the engine's death that the engine's server tells of: its health says so."""


class Ends(NamedTuple):
    """Who is told of an answer. Exactly one of `done` and `lost` is, last."""

    emit: Emit
    done: Callable[[Outcome], None]
    lost: Callable[[str], None]


def error_body(message: str, code: str) -> dict[str, Any]:
    """An error as OpenAI writes it."""
    return {"error": {"message": message, "type": code, "param": None, "code": code}}


def reason_of(outcome: Outcome) -> str:
    """What the engine said went wrong."""
    error = (outcome.body or {}).get("error")
    return str(error.get("message") if isinstance(error, dict) else error)


class Answering:
    """The sink of one request; `tap` is there where its answer is streamed, `heard` is told of each sign of life."""

    def __init__(self, tap: UsageTap | None, ends: Ends, heard: Callable[[], None]) -> None:
        self._tap = tap
        self._ends = ends
        self._heard = heard
        self._status = 0
        self._whole: list[bytes] = []

    def begun(self, status: int, /) -> None:
        """See `Sink`."""
        self._status = status
        if status != 200:
            self._tap = None

    def received(self, data: bytes, /) -> None:
        """See `Sink`."""
        self._heard()
        if self._tap is None:
            self._whole.append(data)
        elif passed := self._tap.feed(data):
            self._ends.emit(passed)

    def ended(self) -> None:
        """See `Sink`."""
        self._ends.done(self._end_of_stream(self._tap) if self._tap else self._end_of_whole(b"".join(self._whole)))

    def lost(self, why: str, /) -> None:
        """See `Sink`."""
        self._ends.lost(why)

    def _end_of_stream(self, tap: UsageTap) -> Outcome:
        if rest := tap.finish():
            self._ends.emit(rest)
        if tap.error is not None:
            return Outcome(_status_of(tap.error), tap.usage, {"error": tap.error}, doubtful=True)
        if tap.usage is None:  # it was asked for and ends every complete stream
            return Outcome(502, body=error_body("the engine broke the response off", "response_broken_off"))
        return Outcome(200, tap.usage)

    def _end_of_whole(self, data: bytes) -> Outcome:
        if self._status != 200:
            status = self._status if 200 <= self._status < 600 else 502  # no others are known to the queue
            return Outcome(status, body=_error_of(data, self._status), doubtful=status >= 500)
        self._ends.emit(data)
        return Outcome(200, usage_of(data))


def json_object(data: bytes | str) -> dict[str, Any] | None:
    """What is a JSON object; None for anything else."""
    try:
        body = json.loads(data)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _status_of(error: Mapping[str, Any]) -> int:
    """Of an error in a stream: the request's own status, or 502 where the engine has failed and another may not."""
    code = error.get("code")
    if isinstance(code, int):
        return code if 400 <= code < 500 else 502
    return 400 if error.get("type") in _OF_REQUESTS else 502


def _error_of(data: bytes, status: int) -> dict[str, Any]:
    body = json_object(data)
    if body and "error" in body:
        return body
    text = data[:2000].decode(errors="replace")
    return error_body(f"the engine answered {status}: {text}", "engine_error")
