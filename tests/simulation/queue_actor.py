"""The queue of a run: its real parts put together as the program does, with connections in memory."""

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any

from prometheus_client import CollectorRegistry

from headrace_queue.clock import LoopClock, Timer
from headrace_queue.demand_teller import DemandTeller
from headrace_queue.dispatch import Dispatcher
from headrace_queue.http.connection import Connection, HttpLimits
from headrace_queue.keys.worker_tokens import WorkerTokens
from headrace_queue.ledger.bookkeeper import Bookkeeper
from headrace_queue.ledger.ledger import Ledger
from headrace_queue.ledger.metrics import LedgerMetrics
from headrace_queue.ledger.receipts import Receipts
from headrace_queue.metrics import Metrics
from headrace_queue.models import ModelNames
from headrace_queue.openai_api import OpenAiApi, Parts
from headrace_queue.worker_door import WorkerDoor
from headrace_queue.worker_socket import Replica
from tests.simulation import network
from tests.simulation.books import Book
from tests.simulation.database import Database, Writer
from tests.simulation.fairness import watched
from tests.simulation.http_client import Answer, Line
from tests.simulation.key_access import KeyBook, WatchedAccess
from tests.simulation.loop import Process
from tests.simulation.plan import MODELS, ClientPlan, Plan

METRICS = Metrics(CollectorRegistry())
LEDGER_METRICS = LedgerMetrics(CollectorRegistry())
"""Of all runs together: nothing is decided by them, and making them takes longer than a run."""


_COMMENT_S = 3.0
_LAST_COMMIT_S = 30.0


class _Clock:
    """The loop's, for as long as the process lives."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._clock = LoopClock()
        self.now = self._clock.now

    def call_later(self, seconds: float, callback: Callable[[], object], /) -> Timer:
        return self._clock.call_later(seconds, lambda: callback() if self._process.alive else None)


class _House:
    """See `headrace_queue.http.connection.House`."""

    limits = HttpLimits()
    date = b""

    def __init__(self, service: OpenAiApi) -> None:
        self.service = service
        self.connections: dict[Connection, int] = {}

    def elsewhere(self) -> asyncio.Protocol:
        raise AssertionError("a client asks for what is not the API's")

    def enter(self, connection: Connection) -> None:
        self.connections[connection] = len(self.connections)

    def leave(self, connection: Connection) -> None:
        self.connections.pop(connection, None)


class QueueActor:
    """One process of the queue, from its start to its death."""

    def __init__(  # noqa: PLR0917 - what it shares with the rest of its world
        self, name: str, plan: Plan, book: Book, keys: KeyBook, database: Database, rng: Random, log: Any
    ) -> None:
        self.process = Process(name)
        self.book = book
        self.schedule, self.unfair = watched(plan.ageing_s)
        names = ModelNames(MODELS, self.schedule)
        clock, loop = _Clock(self.process), asyncio.get_running_loop()
        self.ledger = Ledger(LEDGER_METRICS, log, lambda new: books.noticed(new, names.label))
        self.ledger._loop = loop
        self.ledger._writer = Writer(self.process, database, self.ledger, rng, plan.slowness)  # type: ignore[assignment]
        books = Bookkeeper(self.ledger, METRICS, clock, loop.time)
        books.receipts = Receipts("secret")
        self.dispatcher = Dispatcher(self.schedule, names, plan.limits, books, METRICS, clock)
        teller = DemandTeller(self.dispatcher)
        teller._asking.chance = rng
        self.process.start(teller.run())
        self.door = WorkerDoor(Replica(self.dispatcher, teller, name), METRICS, log, WorkerTokens(), 15)
        self.access = WatchedAccess(self.process, keys, database, rng, plan.slowness)
        parts = Parts(
            self.dispatcher, names, self.access, METRICS, log,
            write_line=lambda fields: log.info("request", **fields),
            ids=self,  # `new` below: the plan has the ids
        )  # fmt: skip
        self.api = OpenAiApi(parts, {}, _COMMENT_S)
        self.house = _House(self.api)
        self.lines: dict[str, Line] = {}
        self._asked = ""

    def new(self) -> str:
        return self._asked

    def welcome(self, end: network.End) -> None:
        """A worker has connected."""
        self.process.start(self._serve(end))

    async def _serve(self, end: Any) -> None:
        await self.door.serve(end, None, "peer", speaks_v1=True)
        await end.close()

    def ask(self, client: ClientPlan, body: bytes) -> None:
        """A client asks; its book is told how that ends."""
        request_id = client.request_id
        fields = f"authorization: Bearer {client.key.secret}\r\n"
        if client.priority is not None:
            fields += f"x-headrace-priority: {client.priority}\r\n"
        fields += f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        head = f"POST /v1/chat/completions HTTP/1.1\r\n{fields}".encode()

        def ended(answer: Answer | None) -> None:
            if answer is None:
                self.book.broken(request_id)
            else:
                self.book.ended(request_id, answer)

        self._asked = request_id
        line = self.lines[request_id] = Line(self.house, client.read_pause_s, ended)
        if not self.house.connections:
            asyncio.get_running_loop().call_later(1, self._tick)
        line.ask(head + body)

    def hang_up(self, request_id: str) -> None:
        """The client of a request has gone."""
        line = self.lines[request_id]
        if not line.over and self.process.alive:
            self.book.left(request_id)
            line.hang_up()

    def _tick(self) -> None:
        """As `HttpServer._tick`, while there are connections."""
        for connection in sorted(self.house.connections, key=self.house.connections.__getitem__):
            connection.tick(asyncio.get_running_loop().time())
        if self.house.connections and self.process.alive:
            asyncio.get_running_loop().call_later(1, self._tick)

    def kill(self) -> None:
        self.process.kill()
        self.access.lost()
        for line in self.lines.values():
            if not line.over:
                line.abort()

    async def stop(self, seconds: float) -> None:
        """As SIGTERM does."""
        done = asyncio.Event()
        self.dispatcher.drain(seconds, done.set)
        await done.wait()
        await self.door.close()
        self.ledger._flush()
        await self.ledger.flush(_LAST_COMMIT_S)
        self.access.leave()
        self.kill()
