"""One `headrace.v1` connection: grants credits, runs the queue's jobs on the engine, accounts for each of them."""

import asyncio
import contextlib
import json
from dataclasses import dataclass, field
from functools import partial

import aiohttp
import structlog
from pydantic import BaseModel, ValidationError

from headrace_api.wire import (
    Ack,
    Cancel,
    Demand,
    Drain,
    Job,
    Register,
    Registered,
    Returned,
    Serving,
    read_queue_messages,
)
from headrace_worker import transcripts
from headrace_worker.answering import Emit, Ends, Outcome
from headrace_worker.batcher import Batcher
from headrace_worker.endings import HandBack, Result, encoded
from headrace_worker.jobs import (
    TOKEN_MARK,
    Running,
    Stop,
    ending_of_lost,
    ending_of_stopped,
    log_lost,
    result_of,
    result_of_failure,
)
from headrace_worker.reports import Reports
from headrace_worker.session import QueueSocket
from headrace_worker.shared import Shared
from headrace_worker.sharing import Seat
from headrace_worker.status import Offer

_ACK_PATIENCE_S = 2.0

log = structlog.get_logger()


@dataclass
class V1Session:
    """One connection; `run` returns when it has ended."""

    socket: QueueSocket
    register: Register
    shared: Shared
    home: str
    """Names the replica at the other end."""
    registered: asyncio.Event = field(default_factory=asyncio.Event)
    draining: bool = False
    is_spider: bool = False
    """The other side took the subprotocol without knowing it: its first message was a request of the seed protocol."""
    _jobs: dict[int, Running] = field(default_factory=dict)
    replica: str = ""
    """The id that the replica has given itself; empty before it has, and of a queue that gives none."""
    replicas: str = ""
    """Where the others are, as it says."""
    dismissed: bool = False
    """Whether the queue has said that no further job comes."""
    _seat: Seat = field(default_factory=lambda: Seat(open=False))
    _served: tuple[str, ...] = ()
    """The adapters that the queue knows of."""
    _idle: asyncio.Event = field(default_factory=asyncio.Event)
    _counting: set[asyncio.Task[None]] = field(default_factory=set)
    _closing: asyncio.Task[None] | None = None
    _closes_when_idle: bool = False

    def __post_init__(self) -> None:
        self.status = self.shared.status
        self._now = self.shared.slots.now
        self._out = Batcher(self.socket, self.status.traffic.sent, self.shared.slots.settle, lambda: len(self._jobs))
        self._transcribes = transcripts.wanted()
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
            self._abandon_jobs()
            self.shared.unacked.leave(self.home)
            self.shared.slots.leave(self._out.message)
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
        self._out.wake()

    async def drain(self, reason: str, patience_s: float) -> None:
        """Take no more jobs; wait for those under way; hand back or break off what is left; close."""
        await self.finish(reason, patience_s)
        self._stop_jobs("cut short")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._out.flushed(), _ACK_PATIENCE_S)
            await asyncio.wait_for(self.shared.unacked.empty.wait(), _ACK_PATIENCE_S)
        await self.socket.close()

    async def finish(self, reason: str, patience_s: float) -> None:
        """Take no more jobs, and wait for those under way; the connection stays."""
        if self.registered.is_set():
            self._reports.now()
        self._refuse_more(reason)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), patience_s)

    async def _read(self) -> None:
        async for frame in self.socket:
            if not self.registered.is_set() and _is_seed_request(frame.data):
                self.is_spider = True
                return
            if frame.type is aiohttp.WSMsgType.TEXT:
                self._handle_text(frame.data)

    def _handle_text(self, text: str) -> None:
        try:
            messages = read_queue_messages(text)
        except ValidationError as error:
            # The input itself may hold a prompt: only where and why it is wrong may be logged.
            problems = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
            log.warning("the queue sent a message that cannot be understood", problems=problems)
            return
        for message in messages:
            self._handle(message)

    def _handle(self, message: BaseModel) -> None:
        match message:
            case Job():
                self._accept(message)
            case Cancel() if message.job in self._jobs:
                self._cancel(self._jobs[message.job])
            case Ack():
                self.shared.unacked.acknowledge(message.request_id)
            case Demand():
                self._seat.demanded(message.n, self._now() - message.waited_s)
                self.shared.slots.settle()
            case Returned():
                self._seat.returned(message.n)
                self.shared.slots.settle()
            case Registered():
                self._on_registered(message)
            case Drain():
                log.info("the queue drains this connection", reason=message.reason)
                self.draining = self._closes_when_idle = self.dismissed = True
                self._seat.close()
                self.shared.slots.settle()
                self._close_when_idle()

    def _on_registered(self, message: Registered) -> None:
        self.replica, self.replicas = message.replica, message.replicas
        self.shared.unacked.arrive(self.home, self._tell_of)
        self.registered.set()
        self._seat = self.shared.slots.join(self._out.message, returns=bool(self.replica))
        if self.draining:
            self._seat.close()
        self._out.wake()

    def _accept(self, job: Job) -> None:
        self._seat.job_came()
        self.status.metrics.queue_wait.observe(job.waited_s)
        offer = self.status.offered
        if offer is None or self.draining or job.job in self._jobs:
            self._tell_of(HandBack(job=job.job, reason=self._why_not(job)))
            return
        if not offer.engine.serves(job.openai_req):
            self._serve(offer)  # first: the queue must not give the job to this worker again
            self._tell_of(HandBack(job=job.job, reason=f"the worker has no model {job.openai_req['model']!r}"))
            return
        if job.continues and not offer.engine.continues:
            self._tell_of(HandBack(job=job.job, reason="the engine cannot continue an answer", failed=True))
            return
        now = self._now()
        gpu_mark, stream = self.status.gpu_time.begin(now), job.openai_req.get("stream") is True
        running = Running(job, offer.engine, now, gpu_mark, stream)
        self._jobs[job.job] = running
        self._seat.jobs += 1
        self._idle.clear()
        self.status.begin_request(stream=stream)
        self._begin(running)

    def _why_not(self, job: Job) -> str:
        if self.draining:
            return "the worker is draining"
        return f"the job number {job.job} is in use" if job.job in self._jobs else f"the worker is {self.status.state}"

    def _begin(self, running: Running) -> None:
        job = running.job
        emit: Emit = partial(self._emit, running)
        if self._transcribes:
            emit = transcripts.logged(job.request_id, job.openai_req, emit)
        ends = Ends(emit, partial(self._done, running), partial(self._lost, running))
        try:
            running.asking = running.engine.begin(job.openai_url, job.openai_req, ends)
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
        if running.sent and running.stream:
            self.status.end_stream(running.began, running.first, self._now(), outcome.usage)
        self._leave(running)
        self._tell_end(running, result_of(running, outcome))

    def _lost(self, running: Running, why: str) -> None:
        self._stop_taking("the engine was lost")
        self._leave(running)
        self._tell_end(running, ending_of_lost(running, why))

    def _leave(self, running: Running) -> None:
        """It is no longer under way."""
        now = self._now()
        running.gpu_seconds = self.status.gpu_time.end(running.gpu_mark, now)
        running.asking = None
        del self._jobs[running.job.job]
        self._seat.jobs -= 1
        self.status.end_request(stream=running.stream)
        self.status.metrics.seconds.observe(now - running.began)

    def _tell_end(self, running: Running, ending: Result | HandBack | None) -> None:
        if ending is not None:
            self.status.metrics.count(ending)
            if isinstance(ending, Result):
                self.shared.unacked.add(ending, self.home)
                log_lost(running, ending)
            self._tell_of(ending)
        if not self._jobs:
            self._idle.set()
        self._close_when_idle()

    def _tell_of(self, ending: Result | HandBack) -> None:
        self._out.text(encoded(ending))

    def _stop_taking(self, reason: str) -> None:
        """Say so before the lost job is handed back: the queue must not give it to this worker again.

        Most likely the engine has died. If it has not, the worker connects anew once this connection is idle.
        """
        self._refuse_more(reason)
        self._closes_when_idle = True

    def _refuse_more(self, reason: str) -> None:
        if not self.draining:
            self.draining = True
            self._seat.close()
            self._out.message(Drain(reason=reason))

    def _close_when_idle(self) -> None:
        """Here nobody else waits for the last job; closing lets the worker connect anew."""
        if self._closes_when_idle and not self._jobs and self._closing is None:
            self._closing = asyncio.create_task(self.drain("idle", 0))

    def _cancel(self, running: Running) -> None:
        """Stop it at once. Its end is told when it is known how many tokens the prompt had: a stream says so last."""
        asking, running.asking = running.asking, None
        if asking is None:
            return
        asking.cancel()
        if not running.events:
            self._stop(running, "cancelled")
            return
        task = asyncio.create_task(self._count(running))
        self._counting.add(task)
        task.add_done_callback(self._counting.discard)

    async def _count(self, running: Running) -> None:
        job = running.job
        running.prompt_tokens = await running.engine.prompt_tokens(job.openai_url, job.openai_req)
        if self._jobs.get(job.job) is running:
            self._stop(running, "cancelled")

    def _stop_jobs(self, why: Stop) -> None:
        for running in list(self._jobs.values()):
            self._stop(running, why)

    def _stop(self, running: Running, why: Stop) -> None:
        if running.asking:
            running.asking.cancel()
        self._leave(running)
        ending = ending_of_stopped(running, why)
        if why == "connection lost" and isinstance(ending, Result):
            self.shared.unacked.add(ending, self.home)
            ending = None
        self._tell_end(running, ending)

    def _abandon_jobs(self) -> None:
        """The queue has given these to other workers, or told their clients: the engine need not go on."""
        if self._jobs:
            log.warning("the connection broke; its jobs are stopped", jobs=len(self._jobs))
        self._stop_jobs("connection lost")


def _is_seed_request(data: object) -> bool:
    try:
        message = json.loads(data) if isinstance(data, (str, bytes)) else None
    except ValueError:
        return False
    return isinstance(message, dict) and "openai_req" in message and "type" not in message
