"""A job of a `headrace.v1` connection: what is known of it while it runs, and how the queue is told of its end."""

from typing import Literal

import structlog

from headrace_api.wire import HandBack, Job, Result, Usage
from headrace_worker.answering import Outcome, error_body
from headrace_worker.engine_client import EngineClient
from headrace_worker.transports.protocol import Asking

_LOST = (500, 502, 503)
"""After pieces were sent: the engine, or the worker, did not finish."""

Stop = Literal["cancelled", "cut short", "connection lost"]

log = structlog.get_logger()


class Running:
    """A job under way."""

    def __init__(self, job: Job, engine: EngineClient, began: float, gpu_mark: float, *, stream: bool) -> None:
        self.job = job
        self.engine = engine
        self.began = began
        """On the monotonic clock, as is `first`."""
        self.gpu_mark = gpu_mark
        """See `SharedTime.begin`."""
        self.stream = stream
        """Whether its answer comes in pieces."""
        self.asking: Asking | None = None
        self.sent = False
        """Whether a piece went out: from then on the job cannot be given to another worker."""
        self.first = 0.0
        """When that was."""
        self.gpu_seconds = 0.0
        """Known at its end."""
        self.events = 0
        """Of its stream, that went out with some of the answer."""
        self.prompt_tokens = 0
        """Known at its end where the engine was asked."""
        self.held = False
        """Whether the engine is made to wait, because the connection to the queue is full."""


def result_of(running: Running, outcome: Outcome) -> Result:
    """The end of a job that the engine, or the worker, has answered."""
    job = running.job
    return Result(
        job=job.job,
        request_id=job.request_id,
        status=outcome.status,
        usage=outcome.usage or _estimate(running, outcome),
        body=outcome.body,
        gpu_seconds=running.gpu_seconds,
        receipt=job.receipt,
    )


def result_of_failure(running: Running, error: Exception) -> Result:
    """The end of a job that met an error in the worker itself."""
    log.error("a job failed in the worker itself", request_id=running.job.request_id, exc_info=error)
    return result_of(running, Outcome(500, body=error_body("the worker failed", "worker_error")))


def ending_of_lost(running: Running, why: str) -> Result | HandBack:
    """The end of a job whose engine is gone."""
    log.warning("the engine was lost", request_id=running.job.request_id, error=why)
    return _broken_off(running, f"the engine was lost: {why}", 502, failed=True)


def ending_of_stopped(running: Running, why: Stop) -> Result | HandBack | None:
    """The end of a job that was stopped.

    Where its connection is gone the job is somebody else's, or nobody's: but a queue that gives receipts is told what
    it cost, lest its queue has died with it. None for other queues.
    """
    match why:
        case "cancelled":
            return result_of(running, Outcome(499, body=error_body("the client has left", "cancelled")))
        case "cut short":
            return _broken_off(running, "the worker is stopping", 503)
        case _ if running.job.receipt:
            return result_of(running, Outcome(502, body=error_body("the connection broke", "connection_lost")))
        case _:
            return None


def log_lost(running: Running, result: Result) -> None:
    """Name a request that cannot be given to another worker any more, and is not complete."""
    if running.sent and result.status in _LOST:
        why = (result.body or {}).get("error", {}).get("message")
        log.error("a request is lost part-way", request_id=result.request_id, status=result.status, reason=why)


def _estimate(running: Running, outcome: Outcome) -> Usage | None:
    """Where a stream broke off before the engine's count: each event had a token, or some more."""
    if outcome.status == 200 or not running.events:
        return None
    return Usage(prompt_tokens=running.prompt_tokens, completion_tokens=running.events)


def _broken_off(running: Running, reason: str, status: int, *, failed: bool = False) -> Result | HandBack:
    if not running.sent:
        return HandBack(job=running.job.job, reason=reason, failed=failed)
    return result_of(running, Outcome(status, usage=None, body=error_body(reason, "response_broken_off")))
