"""One run: puts the actors together, lets things go wrong, then lets everything settle."""

import asyncio
import contextvars
import gc
import json
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

from aiohttp import WSMessage

from tests.simulation import audit
from tests.simulation.books import Book
from tests.simulation.database import Database
from tests.simulation.key_access import KeyBook
from tests.simulation.liar import Liar
from tests.simulation.loop import Process, VirtualLoop
from tests.simulation.network import Connection
from tests.simulation.plan import END_OF_FAULTS_S, MODELS, ClientPlan, Fault, Plan
from tests.simulation.queue_actor import QueueActor
from tests.simulation.words import Words
from tests.simulation.worker_actor import WorkerActor

_STEPS = 20_000
_SETTLED_S = 400.0
"""Longer than anything that waits is allowed to."""

Trace = Callable[[str], None]


class _Log:
    """Where the queue's log lines go."""

    def __init__(self, note: Trace | None) -> None:
        self._note = note

    def bind(self, **_: Any) -> "_Log":
        return self

    def info(self, event: str, **fields: Any) -> None:
        if self._note:
            self._note(f"queue: {event} {fields}")

    warning = error = exception = info


class World:
    """The state of one run."""

    def __init__(self, plan: Plan, trace: Trace | None = None) -> None:
        self.plan = plan
        self.rng = Random(plan.seed + 1)  # noqa: S311 - no secret
        self.book = Book(plan.clients)
        self.keys = KeyBook(plan.keys, self.book)
        self.loop = VirtualLoop(self._after_step, _STEPS)
        self.queue: QueueActor | None = None
        self.queues = 0
        self.database = Database()
        self.words = Words()
        self.workers: dict[int, WorkerActor] = {}
        self.liars: list[Liar] = []
        self.connections: list[Connection] = []
        self.quiet_network = False
        self.frames = 0
        self._trace = trace

    def run(self) -> None:
        """Raises AssertionError where something that must be true is not."""
        gc.disable()  # or what it finds, and when, depends on what else the process has done
        try:
            self.loop.run_until_complete(self._play())
        finally:
            self.loop.end()
            gc.enable()

    def note(self, what: str) -> None:
        if self._trace:
            self._trace(f"{self.loop.time():10.4f} {what}")

    # ---- the course of things

    async def _play(self) -> None:
        self._start_queue()
        for plan in self.plan.workers:
            self._start_worker(plan.number)
        for client in self.plan.clients:
            self.loop.call_later(client.at, self._ask, client)
        for fault in self.plan.faults:
            if fault.at is not None:
                self.loop.call_later(fault.at, self._cause, fault)
        await asyncio.sleep(END_OF_FAULTS_S)
        await self._heal()
        await asyncio.sleep(_SETTLED_S)
        audit.settled(self)
        for number, model in enumerate(MODELS, 100):
            await self._ask_a_last_one(number, model)
            audit.settled(self)
        audit.ended(self)

    async def _heal(self) -> None:
        self.note("nothing goes wrong any more")
        self.quiet_network = True
        for connection in self.connections:
            connection.heal()
        for liar in self.liars:
            liar.process.kill()
            if liar.connection:
                liar.connection.cut(0.0)
        if self.queue is None:
            self._start_queue()
        for plan in self.plan.workers:
            if not plan.liar:
                worker = self.workers[plan.number]
                worker.engine.tempers = iter(())
                if worker.gone or worker._stopping:
                    worker.kill()
                    if worker.connection:
                        worker.connection.cut(0.0)
                    self._start_worker(plan.number)

    async def _ask_a_last_one(self, number: int, model: str) -> None:
        """Whatever has happened, there is room for it, and somebody who answers."""
        client = ClientPlan(number, 0, model, stream=True, include_usage=True, words=2)
        self.book.add(client)
        self._ask(client)
        await asyncio.sleep(_SETTLED_S)

    def _after_step(self) -> None:
        audit.step(self)

    # ---- actors

    def _start_queue(self) -> None:
        self.queues += 1
        self.queue = QueueActor(
            f"queue {self.queues}",
            self.plan,
            self.book,
            self.keys,
            self.database,
            self.rng,
            _Log(self._trace and self.note),
        )

    def _start_worker(self, number: int) -> None:
        plan = next(one for one in self.plan.workers if one.number == number)
        if plan.liar:
            liar = Liar(plan, self._connect, self.rng)
            self.liars.append(liar)
            liar.start()
            return
        if self.quiet_network:
            plan = replace(plan, tempers=(), starts_after_s=0.0)
        worker = self.workers[number] = WorkerActor(plan, f"worker {number}", self._connect, self.rng)
        worker.start()

    async def _connect(self, process: Process) -> Connection | None:
        await asyncio.sleep(self.rng.random() * self.plan.slowness)
        if self.queue is None or self.queue.dispatcher.draining:
            return None
        slowness = 0.0 if self.quiet_network else self.plan.slowness
        connection = Connection(process, self.queue.process, self.rng, slowness)
        connection.watch(self._spy(process.name, connection))
        self.connections.append(connection)
        self.queue.welcome(connection.queue_end)
        self.note(f"{process.name} connects to {self.queue.process.name}")
        return connection

    def _ask(self, client: ClientPlan) -> None:
        if self.queue is None:
            self.book.refused(client.request_id)
            return
        content = f"{client.request_id} {client.words}"
        body = {"model": client.model, "messages": [{"role": "user", "content": content}], "stream": client.stream}
        body |= {"stream_options": {"include_usage": True}} if client.include_usage else {}
        body |= {"max_tokens": max(client.words, 1)} if client.says_most else {}
        self.note(f"{client.request_id} asks for {client.model} with {client.key.id}")
        queue = self.queue
        queue.ask(client, json.dumps(body).encode())
        if client.leaves_after_s is not None:
            self.loop.call_later(client.leaves_after_s, queue.hang_up, client.request_id)

    # ---- faults

    def _cause(self, fault: Fault) -> None:
        self.note(f"fault: {fault.kind} {fault.target} ({fault.seconds:.3f} s)")
        match fault.kind:
            case "kill queue":
                self._kill_queue(fault.seconds)
            case "stop queue" if self.queue:
                self.loop.create_task(self._stop_queue(self.queue, fault.seconds))
            case _:
                if worker := self.workers.get(fault.target):
                    self._trouble(worker, fault)

    def _trouble(self, worker: WorkerActor, fault: Fault) -> None:
        match fault.kind:
            case "cut" if worker.connection:
                worker.connection.cut(fault.seconds)
            case "stall" if worker.connection:
                worker.connection.stall(fault.seconds)
            case "kill worker":
                worker.kill()
                if worker.connection:
                    worker.connection.cut(fault.seconds)
                self.loop.call_later(fault.seconds, self._restart_worker, worker)
            case "stop worker":
                worker.process.start(worker.stop())
            case "engine dies":
                worker.lose_engine()
            case "models":
                worker.change_models()
            case "slots":
                worker.change_slots(1 + int(fault.seconds))
            case "state":
                worker.process.start(worker.fall_back(fault.seconds))

    def _restart_worker(self, worker: WorkerActor) -> None:
        if self.workers[worker.plan.number] is worker:
            self._start_worker(worker.plan.number)

    def _kill_queue(self, seconds: float) -> None:
        if self.queue is None:
            return
        self.queue.kill()
        self._lose_connections(self.queue, seconds)
        self.queue = None
        self.loop.call_later(seconds, self._restart_queue)

    async def _stop_queue(self, queue: QueueActor, seconds: float) -> None:
        await queue.stop(seconds)
        if self.queue is queue:
            self._lose_connections(queue, 0.1)
            self.queue = None
            self._restart_queue()

    def _restart_queue(self) -> None:
        if self.queue is None:
            self._start_queue()

    def _lose_connections(self, queue: QueueActor, seconds: float) -> None:
        for connection in self.connections:
            if connection.queue_end.process is queue.process and not connection.over:
                connection.cut(seconds)

    # ---- what passes by

    def _spy(self, name: str, connection: Connection) -> Callable[[str, WSMessage], None]:
        def see(what: str, frame: WSMessage) -> None:
            if self._trace:
                self.note(f"{name}'s {what} {frame.data!r}")
            if name == "liar" and what == "queue sends":
                self.book.by_liars |= {one["request_id"] for one in audit.said(frame) if one["type"] == "job"}
            try:
                audit.frame(self.database, self.words, connection, what, frame)
            except AssertionError as error:  # here it would end but the task that sends
                self.loop.errors.append(str(error))
            if what.endswith("gets") and not self.quiet_network:
                self._count_frame(name)

        return see

    def _count_frame(self, name: str) -> None:
        self.frames += 1
        for fault in self.plan.faults:
            if fault.after_frames == self.frames:
                number = int(name.split()[1]) if name.startswith("worker") else fault.target
                nobody = contextvars.Context()  # what comes of it is not the affair of the process that got the frame
                self.loop.call_soon(self._cause, replace(fault, target=number), context=nobody)
