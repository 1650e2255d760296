"""One `headrace.v1` connection: registers, grants credits, takes the queue's messages, drains."""

import asyncio
import contextlib
import json
from collections.abc import Coroutine
from dataclasses import dataclass, field

import aiohttp
import structlog

from headrace_api.wire import (
    Ack,
    Cancel,
    Demand,
    Drain,
    Job,
    MessageError,
    QueueMessage,
    Register,
    Registered,
    Returned,
    Serving,
    read_queue_messages,
)
from headrace_worker.answering import Outcome
from headrace_worker.batcher import Batcher
from headrace_worker.job_runner import JobRunner
from headrace_worker.jobs import Running
from headrace_worker.reports import Reports
from headrace_worker.session import BREAKS, QueueSocket
from headrace_worker.shared import Shared
from headrace_worker.status import Offer
from headrace_worker.tasks import end

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
    replica: str = ""
    """The id that the replica has given itself; empty before it has, and of a queue that gives none."""
    replicas: str = ""
    """Where the others are, as it says."""
    dismissed: bool = False
    """Whether the queue has said that no further job comes."""
    _served: tuple[str, ...] = ()
    """The adapters that the queue knows of."""
    _idle: asyncio.Event = field(default_factory=asyncio.Event)
    _asking: set[asyncio.Task[None]] = field(default_factory=set)
    """What is asked of the engine about jobs that are about to end."""
    _closing: asyncio.Task[None] | None = None
    _closes_when_idle: bool = False

    def __post_init__(self) -> None:
        self.status = self.shared.status
        self._now = self.shared.slots.now
        self._jobs = jobs = JobRunner(self.status, self.shared.unacked, self.home, self._now)
        self._out = Batcher(self.socket, self.status.traffic.sent, self.shared.slots.settle, lambda: len(jobs))
        jobs.connect(self, self._out)
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
            await end(sender, reader, teller, expected=BREAKS)
            await self.socket.close()

    def _introduce(self) -> None:
        offer = self.status.offer
        self._served = offer.adapters if offer else tuple(self.register.adapters)
        now = {
            "models": [*self.register.models, *self._served],
            "adapters": list(self._served),
            "capacity": offer.slots if offer else self.register.capacity,
            "continues": offer.engine.continues if offer else self.register.continues,
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
                    self.serve(offer)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await changed.wait()
                changed.clear()

    def serve(self, offer: Offer) -> None:
        """Tell the queue what the worker answers to now."""
        if offer.adapters != self._served:
            self._served = offer.adapters
            models = [*self.register.models, *self._served]
            self._out.message(Serving(models=models, adapters=list(self._served)))
        self._out.wake()

    async def drain(self, reason: str, patience_s: float) -> None:
        """Take no more jobs; wait for those under way; hand back or break off what is left; close."""
        await self.finish(reason, patience_s)
        self._jobs.stop_all("cut short")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_ACK_PATIENCE_S):
                await self._out.flushed()
            async with asyncio.timeout(_ACK_PATIENCE_S):
                await self.shared.unacked.empty.wait()
        await self.socket.close()

    async def finish(self, reason: str, patience_s: float) -> None:
        """Take no more jobs, and wait for those under way; the connection stays."""
        if self.registered.is_set():
            self._reports.now()
        self._refuse_more(reason)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await self._idle.wait()

    async def _read(self) -> None:
        async for frame in self.socket:
            if not self.registered.is_set() and _is_seed_request(frame.data):
                self.is_spider = True
                return
            if frame.type is aiohttp.WSMsgType.TEXT and not self._handle_text(frame.data):
                return

    def _handle_text(self, text: str) -> bool:
        """False where it cannot be understood: jobs may be in it, which go elsewhere when the connection ends."""
        try:
            messages = read_queue_messages(text)
        except MessageError as error:
            log.error("the queue sent what cannot be understood", problem=str(error))  # noqa: TRY400 (it says it all)
            return False
        for message in messages:
            self._handle(message)
        return True

    def _handle(self, message: QueueMessage) -> None:
        match message:
            case Job():
                self._jobs.accept(message)
                if self._jobs:
                    self._idle.clear()
            case Cancel():
                self._jobs.cancel(message.job)
            case Ack():
                self.shared.unacked.acknowledge(message.request_id)
            case Demand():
                self._jobs.seat.demanded(message.n, self._now() - message.waited_s)
                self.shared.slots.settle()
            case Returned():
                self._jobs.seat.returned(message.n)
                self.shared.slots.settle()
            case Registered():
                self._on_registered(message)
            case Drain():
                log.info("the queue drains this connection", reason=message.reason)
                self.draining = self._closes_when_idle = self.dismissed = True
                self._jobs.seat.close()
                self.shared.slots.settle()
                self._close_when_idle()

    def _on_registered(self, message: Registered) -> None:
        self.replica, self.replicas = message.replica, message.replicas
        self.shared.unacked.arrive(self.home, self._jobs.tell_of)
        self.registered.set()
        self._jobs.seat = self.shared.slots.join(self._out.message, returns=bool(self.replica))
        if self.draining:
            self._jobs.seat.close()
        self._out.wake()

    def ended(self) -> None:
        """A job has ended."""
        if not self._jobs:
            self._idle.set()
        self._close_when_idle()

    def engine_lost(self) -> None:
        """Most likely the engine has died. If it has not, the worker connects anew once this connection is idle."""
        self._refuse_more("the engine was lost")
        self._closes_when_idle = True

    def _refuse_more(self, reason: str) -> None:
        if not self.draining:
            self.draining = True
            self._jobs.seat.close()
            self._out.message(Drain(reason=reason))

    def _close_when_idle(self) -> None:
        """Here nobody else waits for the last job; closing lets the worker connect anew."""
        if self._closes_when_idle and not self._jobs and self._closing is None:
            self._closing = asyncio.create_task(self.drain("idle", 0))

    def count_prompt(self, running: Running) -> None:
        """Ask the engine how many tokens the prompt of a cancelled job had."""
        self._ask(self._count(running))

    async def _count(self, running: Running) -> None:
        job = running.job
        self._jobs.counted(running, await running.engine.prompt_tokens(job.openai_url, job.openai_req))

    def look_at_engine(self, running: Running, outcome: Outcome) -> None:
        """Ask the engine whether it is healthy that has ended a job with an error."""
        self._ask(self._look(running, outcome))

    async def _look(self, running: Running, outcome: Outcome) -> None:
        self._jobs.looked_at(running, outcome, healthy=await running.engine.healthy())

    def _ask(self, asking: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(asking)
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    def _abandon_jobs(self) -> None:
        """The queue has given these to other workers, or told their clients: the engine need not go on."""
        if self._jobs:
            log.warning("the connection broke; its jobs are stopped", jobs=len(self._jobs))
        self._jobs.stop_all("connection lost")


def _is_seed_request(data: object) -> bool:
    try:
        message = json.loads(data) if isinstance(data, (str, bytes)) else None
    except ValueError:
        return False
    return isinstance(message, dict) and "openai_req" in message and "type" not in message
