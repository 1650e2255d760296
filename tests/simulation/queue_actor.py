"""The queue of a run: the real dispatcher and door, put together as the program does, with clients instead of HTTP."""

import asyncio
from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry

from headrace_api.wire import Usage
from headrace_queue.accounts import Accounts
from headrace_queue.clock import LoopClock, Timer
from headrace_queue.dispatch import Dispatcher
from headrace_queue.limits import Limits
from headrace_queue.errors import ApiError
from headrace_queue.exchange import Call, End
from headrace_queue.metrics import Metrics
from headrace_queue.models import ModelNames
from headrace_queue.outbox import Outbox
from headrace_queue.schedule import Schedule
from headrace_queue.worker_door import WorkerDoor
from tests.simulation import network
from tests.simulation.books import Book
from tests.simulation.loop import Process
from tests.simulation.plan import MODELS

METRICS = Metrics(CollectorRegistry())
"""Of all runs together: nothing is decided by them, and making them takes longer than a run."""


class _Clock(LoopClock):
    """The loop's, for as long as the process lives."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def call_later(self, seconds: float, callback: Callable[[], object], /) -> Timer:
        return super().call_later(seconds, lambda: callback() if self._process.alive else None)


class _Accounts(Accounts):
    def __init__(self, book: Book) -> None:
        super().__init__(METRICS)
        self._book = book

    def record(self, request_id: str, label: str, usage: Usage | None) -> bool:
        counted = super().record(request_id, label, usage)
        self._book.counted(request_id, usage, anew=counted)
        return counted


class QueueActor:
    """One process of the queue, from its start to its death."""

    def __init__(self, name: str, limits: Limits, book: Book, log: Any) -> None:
        self.process = Process(name)
        self.book = book
        self.schedule = Schedule()
        names = ModelNames(MODELS, self.schedule)
        accounts = _Accounts(book)
        self.dispatcher = Dispatcher(self.schedule, names, limits, accounts, METRICS, _Clock(self.process))
        self.door = WorkerDoor(self.dispatcher, METRICS, log, None, 15)
        self.answering: dict[str, asyncio.Task[None]] = {}

    def welcome(self, end: network.End) -> None:
        """A worker has connected."""
        self.process.start(self._serve(end))

    async def _serve(self, end: Any) -> None:
        async with Outbox(end) as outbox:
            self.door._open.add(outbox)
            try:
                await self.door._serve(end, outbox, "peer", speaks_v1=True)
            finally:
                self.door._open.discard(outbox)
        await end.close()

    def ask(self, call: Call, read_pause_s: float) -> None:
        """A client asks; its book is told how that ends."""
        task = self.process.start(self._answer(call, read_pause_s))
        self.answering[call.request_id] = task
        task.add_done_callback(lambda _: self.answering.pop(call.request_id))

    def hang_up(self, request_id: str) -> None:
        """The client of a request has gone."""
        if task := self.answering.get(request_id):
            self.book.left(request_id)
            task.cancel()

    async def _answer(self, call: Call, read_pause_s: float) -> None:
        # As `OpenAiApi._answer` does it.
        try:
            exchange = self.dispatcher.submit(call, lambda: self._abort(call.request_id))
        except ApiError as error:
            self.book.ended(call.request_id, End.failed(error), b"", accepted=False)
            return
        self.book.accepted(call.request_id)
        data = b""
        try:
            while isinstance(item := await exchange.read(), bytes):
                data += item
                await asyncio.sleep(read_pause_s)
            self.book.ended(call.request_id, item, data)
        finally:
            self.dispatcher.leave(exchange)

    def _abort(self, request_id: str) -> None:
        self.book.broken(request_id)
        self.answering[request_id].cancel()

    def kill(self) -> None:
        for request_id in self.answering:
            self.book.broken(request_id)
        self.process.kill()

    async def stop(self, seconds: float) -> None:
        """As SIGTERM does."""
        done = asyncio.Event()
        self.dispatcher.drain(seconds, done.set)
        await done.wait()
        await self.door.close()
        self.kill()
