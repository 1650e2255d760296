"""A job of a `headrace.v1` connection: what is known of it while it runs, and how the queue is told of its end."""

import asyncio
from dataclasses import dataclass
from typing import Literal

import structlog

from headrace_api.wire import HandBack, Job, Result
from headrace_worker.engine_client import EngineClient, Outcome, error_body
from headrace_worker.transports.protocol import EngineLostError

_LOST = (500, 502, 503)
"""After pieces were sent: the engine, or the worker, did not finish."""

Stop = Literal["cancelled", "cut short", "connection lost"]

log = structlog.get_logger()


@dataclass
class Running:
    """A job under way."""

    job: Job
    engine: EngineClient
    task: asyncio.Task[Outcome] | None = None
    sent: bool = False
    """Whether a piece went out: from then on the job cannot be given to another worker."""
    stop: Stop | None = None
    """Why its task is being cancelled."""

    @property
    def stream(self) -> bool:
        """Whether its answer comes in pieces."""
        return self.job.openai_req.get("stream") is True


def ending_of(running: Running, task: asyncio.Task[Outcome]) -> Result | HandBack | None:
    """What the queue is told of a job that has ended; None where its connection is gone."""
    if task.cancelled():
        return _ending_of_stopped(running)
    error = task.exception()
    if error is None:
        return _result(running.job, task.result())
    if not isinstance(error, EngineLostError):
        log.error("a job failed in the worker itself", request_id=running.job.request_id, exc_info=error)
        return _result(running.job, Outcome(500, body=error_body("the worker failed", "worker_error")))
    return _broken_off(running, f"the engine was lost: {error}", 502, failed=True)


def log_lost(running: Running, result: Result) -> None:
    """Name a request that cannot be given to another worker any more, and is not complete."""
    if running.sent and result.status in _LOST:
        why = (result.body or {}).get("error", {}).get("message")
        log.error("a request is lost part-way", request_id=result.request_id, status=result.status, reason=why)


def _result(job: Job, outcome: Outcome) -> Result:
    return Result(job=job.job, request_id=job.request_id, status=outcome.status, usage=outcome.usage, body=outcome.body)


def _broken_off(running: Running, reason: str, status: int, *, failed: bool = False) -> Result | HandBack:
    if not running.sent:
        return HandBack(job=running.job.job, reason=reason, failed=failed)
    return _result(running.job, Outcome(status, usage=None, body=error_body(reason, "response_broken_off")))


def _ending_of_stopped(running: Running) -> Result | HandBack | None:
    match running.stop:
        case "cancelled":
            return _result(running.job, Outcome(499, body=error_body("the client has left", "cancelled")))
        case "cut short":
            return _broken_off(running, "the worker is stopping", 503)
        case _:
            return None
