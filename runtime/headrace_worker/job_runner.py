"""Does the jobs of one `headrace.v1` connection: begins each on the engine, passes its answer on, tells its end."""

from collections.abc import Callable
from functools import partial
from typing import Protocol

from headrace_api.pieces import TOKEN_MARK
from headrace_api.wire import HandBack, Job, Result
from headrace_worker import transcripts
from headrace_worker.answering import Emit, Ends, Outcome, reason_of
from headrace_worker.batcher import Batcher
from headrace_worker.jobs import (
    Running,
    Stop,
    ending_of_lost,
    ending_of_stopped,
    log_lost,
    result_of,
    result_of_failure,
)
from headrace_worker.sharing import Seat
from headrace_worker.status import Offer, Status
from headrace_worker.unacked import Unacked


class Connection(Protocol):
    """The connection that the jobs come over, as far as they change it."""

    @property
    def draining(self) -> bool:
        """Whether no further job is taken."""

    def serve(self, offer: Offer, /) -> None:
        """Tell the queue what the worker answers to now."""

    def engine_lost(self) -> None:
        """Take no more jobs, and say so before the lost one is handed back, lest it is given to this worker again."""

    def ended(self) -> None:
        """A job has ended."""

    def count_prompt(self, running: Running, /) -> None:
        """Find out how many tokens the prompt of a cancelled job had, then have it `counted`."""

    def look_at_engine(self, running: Running, outcome: Outcome, /) -> None:
        """Find out whether the engine is alive that ended a job with an error, then have it `looked_at`."""


class JobRunner:
    """All of them. Nothing here waits: what takes time are the engine's answers, which call back."""

    def __init__(self, status: Status, unacked: Unacked, home: str, now: Callable[[], float]) -> None:
        self.seat = Seat(open=False)
        """Of the worker at this replica, once it is registered."""
        self._status = status
        self._unacked = unacked
        self._home = home
        self._now = now
        self._jobs: dict[int, Running] = {}
        self._transcribes = transcripts.wanted()
        self._connection: Connection
        self._out: Batcher

    def connect(self, connection: Connection, out: Batcher) -> None:
        """Say where the jobs come from, and where their answers go."""
        self._connection, self._out = connection, out

    def __len__(self) -> int:
        return len(self._jobs)

    def accept(self, job: Job) -> None:
        """Take a job, or hand it back."""
        self.seat.job_came()
        self._status.metrics.queue_wait.observe(job.waited_s)
        offer = self._status.offered
        if offer is None or self._connection.draining or job.job in self._jobs:
            self.tell_of(HandBack(job=job.job, reason=self._why_not(job)))
            return
        if not offer.engine.serves(job.openai_req):
            self._connection.serve(offer)  # first: the queue must not give the job to this worker again
            self.tell_of(HandBack(job=job.job, reason=f"the worker has no model {job.openai_req['model']!r}"))
            return
        if job.continues and not offer.engine.continues:
            self.tell_of(HandBack(job=job.job, reason="the engine cannot continue an answer"))
            return
        now = self._now()
        gpu_mark, stream = self._status.gpu_time.begin(now), job.openai_req.get("stream") is True
        running = Running(job, offer.engine, now, gpu_mark, stream=stream)
        self._jobs[job.job] = running
        self.seat.jobs += 1
        self._status.begin_request(stream=stream)
        self._begin(running)

    def cancel(self, job: int) -> None:
        """Stop it at once. Its end is told when it is known how many tokens the prompt had: a stream says so last."""
        running = self._jobs.get(job)
        if running is None or running.asking is None:
            return
        running.asking.cancel()
        running.asking = None
        if running.events:
            self._connection.count_prompt(running)
        else:
            self._stop(running, "cancelled")

    def counted(self, running: Running, prompt_tokens: int) -> None:
        """It is known how many tokens the prompt of a cancelled job had."""
        running.prompt_tokens = prompt_tokens
        if self._jobs.get(running.job.job) is running:
            self._stop(running, "cancelled")

    def looked_at(self, running: Running, outcome: Outcome, *, healthy: bool) -> None:
        """It is known whether the engine is alive that ended a job with an error."""
        if self._jobs.get(running.job.job) is not running:
            return
        if healthy:
            self._end(running, outcome)
        else:
            self._lost(running, reason_of(outcome))

    def stop_all(self, why: Stop) -> None:
        """Stop what is under way."""
        for running in list(self._jobs.values()):
            self._stop(running, why)

    def tell_of(self, ending: Result | HandBack) -> None:
        """Have the queue know of an end."""
        self._out.message(ending)

    def _why_not(self, job: Job) -> str:
        if self._connection.draining:
            return "the worker is draining"
        return f"the job number {job.job} is in use" if job.job in self._jobs else f"the worker is {self._status.state}"

    def _begin(self, running: Running) -> None:
        job = running.job
        emit: Emit = partial(self._emit, running)
        if self._transcribes:
            emit = transcripts.logged(job.request_id, job.openai_req, emit)
        ends = Ends(emit, partial(self._done, running), partial(self._lost, running))
        try:
            running.asking = running.engine.begin(job.openai_url, job.openai_req, ends, job.said_tokens)
        except Exception as error:  # noqa: BLE001 (one request must not end all others)
            self._leave(running)
            self._tell_end(running, result_of_failure(running, error))

    def _emit(self, running: Running, data: bytes) -> None:
        if not running.sent:
            running.sent, running.first = True, self._now()
        if running.stream:
            running.events += data.count(TOKEN_MARK)
        self._out.piece(running.job.job, data)
        if self._out.full and running.asking and not running.held:
            running.held = True
            running.asking.pause()
            self._out.when_emptied(partial(self._release, running))

    @staticmethod
    def _release(running: Running) -> None:
        running.held = False
        if running.asking:
            running.asking.resume()

    def _done(self, running: Running, outcome: Outcome) -> None:
        if outcome.doubtful:
            self._connection.look_at_engine(running, outcome)
        else:
            self._end(running, outcome)

    def _end(self, running: Running, outcome: Outcome) -> None:
        if running.sent and running.stream:
            self._status.end_stream(running.began, running.first, self._now(), outcome.usage)
        self._leave(running)
        self._tell_end(running, result_of(running, outcome))

    def _lost(self, running: Running, why: str) -> None:
        self._connection.engine_lost()
        self._leave(running)
        self._tell_end(running, ending_of_lost(running, why))

    def _leave(self, running: Running) -> None:
        """It is no longer under way."""
        now = self._now()
        running.gpu_seconds = self._status.gpu_time.end(running.gpu_mark, now)
        running.asking = None
        del self._jobs[running.job.job]
        self.seat.jobs -= 1
        self._status.end_request(stream=running.stream)
        self._status.metrics.seconds.observe(now - running.began)

    def _tell_end(self, running: Running, ending: Result | HandBack | None) -> None:
        if ending is not None:
            self._status.metrics.count(ending)
            if isinstance(ending, Result):
                self._unacked.add(ending, self._home)
                log_lost(running, ending)
            self.tell_of(ending)
        self._connection.ended()

    def _stop(self, running: Running, why: Stop) -> None:
        if running.asking:
            running.asking.cancel()
        self._leave(running)
        ending = ending_of_stopped(running, why)
        if why == "connection lost" and isinstance(ending, Result):
            self._unacked.add(ending, self._home)
            ending = None
        self._tell_end(running, ending)
