"""One `headrace.v1` connection: grants credits, runs the queue's jobs on the engine, accounts for each of them."""

import asyncio
import contextlib
import functools
import json
import time
from dataclasses import dataclass, field

import aiohttp
import structlog
from pydantic import BaseModel, ValidationError

from headrace_api.wire import (
    Ack,
    Cancel,
    Credit,
    Drain,
    HandBack,
    Job,
    Register,
    Registered,
    Result,
    Serving,
    queue_messages,
)
from headrace_worker import transcripts
from headrace_worker.batcher import Batcher
from headrace_worker.engine_client import Outcome
from headrace_worker.jobs import Running, Stop, ending_of, log_lost
from headrace_worker.reports import Reports
from headrace_worker.status import Offer, Status
from headrace_worker.transports.protocol import EngineLostError
from headrace_worker.unacked import Unacked

_ACK_PATIENCE_S = 2.0

log = structlog.get_logger()


@dataclass
class V1Session:
    """One connection; `run` returns when it has ended."""

    socket: aiohttp.ClientWebSocketResponse
    register: Register
    status: Status
    unacked: Unacked
    registered: asyncio.Event = field(default_factory=asyncio.Event)
    draining: bool = False
    is_spider: bool = False
    """The other side took the subprotocol without knowing it: its first message was a request of the seed protocol."""
    _jobs: dict[int, Running] = field(default_factory=dict)
    _credits: int = 0
    """Granted, and not used by the queue so far."""
    _served: tuple[str, ...] = ()
    """The adapters that the queue knows of."""
    _idle: asyncio.Event = field(default_factory=asyncio.Event)
    _closing: asyncio.Task[None] | None = None
    _closes_when_idle: bool = False

    def __post_init__(self) -> None:
        self._out = Batcher(self.socket, self.status.traffic.sent)
        self._reports = Reports(self.status, self._out.message)
        self._idle.set()

    async def run(self) -> None:
        """Register, then serve until either side closes or the connection breaks."""
        sender = asyncio.create_task(self._out.run())
        reader = asyncio.create_task(self._read())
        teller = asyncio.create_task(self._tell())
        self._introduce()
        try:
            await asyncio.wait({sender, reader, teller}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await self._abandon_jobs()
            self.status.metrics.credits.set(0)
            for task in (sender, reader, teller):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, aiohttp.ClientError, ConnectionError):
                    await task
            await self.socket.close()

    def _introduce(self) -> None:
        offer = self.status.offer
        self._served = offer.adapters if offer else tuple(self.register.adapters)
        now = {
            "models": [*self.register.models, *self._served],
            "adapters": list(self._served),
            "capacity": offer.slots if offer else self.register.capacity,
            "state": self.status.state.value,
        }
        self._out.message(self.register.model_copy(update=now))
        self._reports.registered_as(self.status.state)

    async def _tell(self) -> None:
        """Tell the queue what changes: how far the worker is, what it serves, how many jobs it takes."""
        await self.registered.wait()
        with self.status.watch() as changed:
            while True:
                wait_s = self._reports.due()
                if offer := self.status.offered:
                    self._serve(offer)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), wait_s)
                changed.clear()

    def _serve(self, offer: Offer) -> None:
        if offer.adapters != self._served:
            self._served = offer.adapters
            models = [*self.register.models, *self._served]
            self._out.message(Serving(models=models, adapters=list(self._served)))
        self._grant()

    def _grant(self) -> None:
        """Grant what is missing; a worker that takes fewer jobs than before lets credits run out instead."""
        offer = self.status.offered
        if offer is None or self.draining or not self.registered.is_set():
            return
        missing = offer.slots - self._credits - len(self._jobs)
        if missing > 0:
            self._credits += missing
            self.status.metrics.credits.set(self._credits)
            self._out.message(Credit(n=missing))

    async def drain(self, reason: str, patience_s: float) -> None:
        """Take no more jobs; wait for those under way; hand back or break off what is left; close."""
        if self.registered.is_set():
            self._reports.now()
        if not self.draining:
            self.draining = True
            self._out.message(Drain(reason=reason))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), patience_s)
        await self._stop_jobs(list(self._jobs.values()), "cut short")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._out.flushed(), _ACK_PATIENCE_S)
            await asyncio.wait_for(self.unacked.empty.wait(), _ACK_PATIENCE_S)
        await self.socket.close()

    async def _read(self) -> None:
        async for frame in self.socket:
            if not self.registered.is_set() and _is_seed_request(frame.data):
                self.is_spider = True
                return
            if frame.type is aiohttp.WSMsgType.TEXT:
                await self._handle_text(frame.data)

    async def _handle_text(self, text: str) -> None:
        try:
            message = queue_messages.validate_json(text)
        except ValidationError as error:
            # The input itself may hold a prompt: only where and why it is wrong may be logged.
            problems = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
            log.warning("the queue sent a message that cannot be understood", problems=problems)
            return
        await self._handle(message)

    async def _handle(self, message: BaseModel) -> None:
        match message:
            case Job():
                self._accept(message)
            case Cancel() if message.job in self._jobs:
                self._cancel(self._jobs[message.job], "cancelled")
            case Ack():
                self.unacked.acknowledge(message.request_id)
            case Registered():
                self._on_registered()
            case Drain():
                log.info("the queue drains this connection", reason=message.reason)
                self.draining = self._closes_when_idle = True
                self._close_when_idle()

    def _on_registered(self) -> None:
        for result in self.unacked.all():
            self._out.message(result)
        self.registered.set()
        self._grant()

    def _accept(self, job: Job) -> None:
        self._credits = max(0, self._credits - 1)
        self.status.metrics.credits.set(self._credits)
        self.status.metrics.queue_wait.observe(job.waited_s)
        offer = self.status.offered
        if offer is None or self.draining or job.job in self._jobs:
            self._out.message(HandBack(job=job.job, reason=self._why_not(job)))
            return
        if not offer.engine.serves(job.openai_req):
            self._serve(offer)  # first: the queue must not give the job to this worker again
            self._out.message(HandBack(job=job.job, reason=f"the worker has no model {job.openai_req['model']!r}"))
            return
        if job.continues and not offer.engine.continues:
            self._out.message(HandBack(job=job.job, reason="the engine cannot continue an answer", failed=True))
            self._grant()
            return
        running = Running(job, offer.engine)
        self._jobs[job.job] = running
        self._idle.clear()
        self.status.begin_request(stream=running.stream)
        running.task = asyncio.create_task(self._do(running))
        # In a callback, because a task that is cancelled before its first turn runs none of its own code.
        running.task.add_done_callback(functools.partial(self._finish, running))

    def _why_not(self, job: Job) -> str:
        if self.draining:
            return "the worker is draining"
        return f"the job number {job.job} is in use" if job.job in self._jobs else f"the worker is {self.status.state}"

    async def _do(self, running: Running) -> Outcome:
        job, metrics = running.job, self.status.metrics
        began = first = time.monotonic()

        async def emit(data: bytes) -> None:
            nonlocal first
            if not running.sent:
                running.sent, first = True, time.monotonic()
            await self._out.piece(job.job, data)

        with metrics.seconds.time():
            told = transcripts.logged(job.request_id, job.openai_req, emit)
            outcome = await running.engine.run(job.openai_url, job.openai_req, told)
        if running.sent and running.stream:
            self.status.end_stream(began, first, time.monotonic(), outcome.usage)
        return outcome

    def _finish(self, running: Running, task: asyncio.Task[Outcome]) -> None:
        if not task.cancelled() and isinstance(error := task.exception(), EngineLostError):
            log.warning("the engine was lost", request_id=running.job.request_id, error=str(error))
            self._stop_taking("the engine was lost")
        ending = ending_of(running, task)
        del self._jobs[running.job.job]
        self.status.end_request(stream=running.stream)
        if ending is not None:
            self.status.metrics.count(ending)
            if isinstance(ending, Result):
                self.unacked.add(ending)
                log_lost(running, ending)
            self._out.message(ending)
            self._grant()
        if not self._jobs:
            self._idle.set()
        self._close_when_idle()

    def _stop_taking(self, reason: str) -> None:
        """Say so before the lost job is handed back: the queue must not give it to this worker again.

        Most likely the engine has died. If it has not, the worker connects anew once this connection is idle.
        """
        if not self.draining:
            self.draining = True
            self._out.message(Drain(reason=reason))
        self._closes_when_idle = True

    def _close_when_idle(self) -> None:
        """Here nobody else waits for the last job; closing lets the worker connect anew."""
        if self._closes_when_idle and not self._jobs and self._closing is None:
            self._closing = asyncio.create_task(self.drain("idle", 0))

    async def _stop_jobs(self, jobs: list[Running], why: Stop) -> None:
        for running in jobs:
            self._cancel(running, why)
        await asyncio.gather(*(running.task for running in jobs if running.task), return_exceptions=True)

    @staticmethod
    def _cancel(running: Running, why: Stop) -> None:
        if running.task and running.stop is None:
            running.stop = why
            running.task.cancel()

    async def _abandon_jobs(self) -> None:
        """The queue has given these to other workers, or told their clients: the engine need not go on."""
        if self._jobs:
            log.warning("the connection broke; its jobs are stopped", jobs=len(self._jobs))
        await self._stop_jobs(list(self._jobs.values()), "connection lost")


def _is_seed_request(data: object) -> bool:
    try:
        message = json.loads(data) if isinstance(data, (str, bytes)) else None
    except ValueError:
        return False
    return isinstance(message, dict) and "openai_req" in message and "type" not in message
