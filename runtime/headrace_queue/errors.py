"""What can go wrong with a client's request, in the shape of the OpenAI API's errors.

Every failure that a client sees is one `ApiError`, made by one of the functions here, so that the statuses and codes
stand in one place. The statuses choose the exception that the official `openai` client raises:

    400 invalid_request_error   BadRequestError         the body cannot be understood
    401, 403                    AuthenticationError, PermissionDeniedError  the key: see `Access`
    404 model_not_found         NotFoundError           no worker, catalogue or option names the model
    405 method_not_allowed      APIStatusError          the path has other methods
    408 request_too_slow        APIStatusError          the request did not come in time
    413 request_too_large       APIStatusError          the body is over `--max-request-bytes`, or a seed worker's limit
    415 unsupported_encoding    APIStatusError          the body is compressed
    417 expectation_failed      APIStatusError          `Expect` asks for more than 100-continue
    429 queue_full              RateLimitError          as much waits as may wait
    429 queue_timeout           RateLimitError          the workers had no room for it while it was held
    431 head_too_large          APIStatusError          the head is over 64 KiB
    500 internal_error          InternalServerError     a fault of the queue itself; its log has the request's id
    502 worker_lost, ...        InternalServerError     the workers that took the request failed
    503 no_worker, draining     InternalServerError     no worker came in time; this queue is stopping
    503 ledger_unavailable      InternalServerError     the database is away for longer than rows fit into memory
    504 request_timeout         InternalServerError     the answer took longer than `--request-seconds`
    504 deadline_exceeded       InternalServerError     the answer took longer than its client wanted to wait
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from headrace_api import progress
from headrace_api.load import Starting

RETRY_AFTER_SECONDS = 5
"""What `Retry-After` says where trying again can help, and nothing is known of when."""
RETRY_AFTER_MOST_SECONDS = 600
"""The most that it says: what is expected so far away will not be so."""

_NAMES_SHOWN = 20


class ApiError(Exception):
    """A failure with the HTTP status and the OpenAI error object that tell the client of it."""

    def __init__(  # noqa: PLR0913 - what the client is told
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        retry: bool | int = False,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.retry_after = RETRY_AFTER_SECONDS if retry is True else retry or None
        """Seconds, where trying again can help; `retry` gives them if they are known."""
        self.headers = headers or {}
        """Further ones of the answer."""

    def body(self) -> dict[str, Any]:
        """The OpenAI error object."""
        kind = error_type(self.status)
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


def error_type(status: int) -> str:
    """An error's `type`, as it follows from the status in OpenAI's own answers."""
    if status == 429:
        return "rate_limit_error"
    return "invalid_request_error" if 400 <= status < 500 else "server_error"


def bad_body(message: str, param: str | None = None) -> ApiError:
    """The request's body is wrong; `param` names the field."""
    return ApiError(400, "invalid_request", message, param=param)


def bad_http(why: str) -> ApiError:
    """What came is no HTTP/1 request."""
    return ApiError(400, "invalid_http", f"The request cannot be read as HTTP/1.1: {why}.")


def bad_request_id(value: str) -> ApiError:
    """The client's own request id cannot be used."""
    message = f"`x-request-id` is {value[:100]!r}: it must be 1 to 512 visible ASCII characters."
    return ApiError(400, "invalid_request", message, param="x-request-id")


def not_allowed(method: str, path: str, allowed: str) -> ApiError:
    """The path has no such method."""
    message = f"{method} {path}: Method Not Allowed. It takes {allowed}."
    return ApiError(405, "method_not_allowed", message, headers={"Allow": allowed})


def too_slow() -> ApiError:
    """The request did not come in time."""
    return ApiError(408, "request_too_slow", "The request was not complete in time.")


def head_too_large(limit: int) -> ApiError:
    """The head is larger than `limit` bytes."""
    return ApiError(431, "head_too_large", f"The request's head is larger than the {limit} bytes that are accepted.")


def bad_encoding(encoding: str) -> ApiError:
    """The body is compressed."""
    message = f"`content-encoding` is {encoding[:100]!r}: a request's body must come as it is (identity)."
    return ApiError(415, "unsupported_encoding", message, param="content-encoding")


def bad_expectation(expected: str) -> ApiError:
    """The client expects what no server has."""
    message = f"`expect` is {expected[:100]!r}: it must be 100-continue."
    return ApiError(417, "expectation_failed", message, param="expect")


def internal() -> ApiError:
    """A fault of the queue itself."""
    return ApiError(500, "internal_error", "The queue has failed at this request. Its log has the request's id.")


def bad_header(name: str, value: str, accepted: str) -> ApiError:
    """A header of the request is wrong."""
    return ApiError(400, "invalid_header", f"`{name}` is {value[:100]!r}: it must be {accepted}.", param=name)


def body_too_large(limit: int) -> ApiError:
    """The body is larger than `limit` bytes."""
    return ApiError(413, "request_too_large", f"The request's body is larger than the {limit} bytes that are accepted.")


def too_large_for_worker() -> ApiError:
    """A worker of the seed's protocol closed its connection with 1009: it is over that worker's limit."""
    return ApiError(413, "request_too_large", "The request is larger than the worker accepts.")


def unknown_model(model: str, known: Iterable[str] | None = None) -> ApiError:
    """Nothing names `model`; says what there is instead, of what the client may know."""
    message = f"The model '{model}' does not exist."
    if known is not None:
        names = sorted(known)
        shown = ", ".join(names[:_NAMES_SHOWN]) + (", ..." if len(names) > _NAMES_SHOWN else "")
        message += f" Models that do: {shown or 'none yet'}."
    return ApiError(404, "model_not_found", message, param="model")


def saturated(full: str, starting: Sequence[Starting], eta_s: float | None) -> ApiError:
    """As much waits as may wait: `full` says how much; `eta_s` is when a further request would be begun.

    `starting` are the workers of a model that has none which takes requests yet.
    """
    message = f"The queue is full: {full}.{_how_far(starting)} Try again {_later(eta_s)}."
    return ApiError(429, "queue_full", message, retry=_seconds(eta_s))


def no_worker_with(model: str, seconds: float, needs: Iterable[str]) -> ApiError:
    """No worker of the model had what the request asks for while it was held."""
    wanted = ", ".join(sorted(needs))
    message = f"No worker for '{model}' with {wanted} was there within {seconds:g} s."
    return ApiError(503, "no_worker", message, retry=True)


def no_worker(model: str, seconds: float, starting: Sequence[Starting], eta_s: float | None) -> ApiError:
    """No worker was there while the request was held; `starting` are those that may take the next one."""
    message = f"No worker took the request for '{model}' within {seconds:g} s.{_how_far(starting)}"
    return ApiError(503, "no_worker", f"{message} Try again {_later(eta_s)}.", retry=_seconds(eta_s))


def no_room(model: str, seconds: float, eta_s: float | None) -> ApiError:
    """The workers had no room for the request while it was held."""
    message = f"The workers for '{model}' had no room for the request within {seconds:g} s. Try again {_later(eta_s)}."
    return ApiError(429, "queue_timeout", message, retry=_seconds(eta_s))


def _how_far(starting: Sequence[Starting]) -> str:
    if not starting:
        return ""
    one = max(starting, key=lambda each: progress.twentieths(each.done_bytes, each.total_bytes))
    return f" {len(starting)} starting: {progress.words(one.state, one.done_bytes, one.total_bytes, None)}."


def _seconds(eta_s: float | None) -> int:
    return RETRY_AFTER_SECONDS if eta_s is None else max(1, min(RETRY_AFTER_MOST_SECONDS, math.ceil(eta_s)))


def _later(eta_s: float | None) -> str:
    return "later" if eta_s is None else f"in about {_seconds(eta_s)} s"


def ledger_full() -> ApiError:
    """The database is away, and as many rows wait for it as may."""
    return ApiError(
        503, "ledger_unavailable", "The queue cannot write down what requests use. Try again later.", retry=True
    )


def draining() -> ApiError:
    """This queue is stopping."""
    return ApiError(503, "draining", "This queue is stopping. Try again: another one will answer.", retry=True)


def stopped() -> ApiError:
    """This queue stopped before the answer was complete."""
    return ApiError(503, "stopped", "This queue stopped before the answer was complete.", retry=True)


def worker_lost() -> ApiError:
    """A worker was lost after a part of its answer had gone out."""
    return ApiError(502, "worker_lost", "The worker was lost in the middle of the answer.")


def too_many_attempts(attempts: int) -> ApiError:
    """So many workers took the request and failed."""
    return ApiError(502, "too_many_attempts", f"{attempts} workers took the request, and none could answer it.")


def bad_reply(why: str) -> ApiError:
    """A worker's reply is no OpenAI answer."""
    return ApiError(502, "bad_reply", f"The worker's reply cannot be used: {why}.")


def timed_out(seconds: float) -> ApiError:
    """The answer was not complete in time."""
    return ApiError(504, "request_timeout", f"The answer was not complete within {seconds:g} s.")


def too_late(seconds: float | None) -> ApiError:
    """The client wanted the answer within so many seconds of its request, and nobody wants it any more."""
    message = f"The answer was not complete within the {seconds or 0:g} s in which it was wanted."
    return ApiError(504, "deadline_exceeded", message)


def buffer_full(limit: int) -> ApiError:
    """More of the answer than `limit` bytes would have to be kept for the client."""
    return ApiError(502, "answer_too_large", f"More than {limit} bytes of the answer would have to be kept.")
