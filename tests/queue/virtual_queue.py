"""A dispatcher on a clock that a test moves, and workers that only note what they are given."""

import heapq
import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry

from headrace_api.load import Starting
from headrace_queue.dispatch import Dispatcher
from headrace_queue.exchange import Call, End, Exchange
from headrace_queue.ledger.bookkeeper import Bookkeeper
from headrace_queue.ledger.entry import Entry, merged
from headrace_queue.ledger.receipts import Receipts
from headrace_queue.limits import Limits
from headrace_queue.metrics import Metrics
from headrace_queue.models import ModelNames
from headrace_queue.schedule import Schedule


class VirtualTimer:
    """A timer."""

    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        self.callback = None


class VirtualClock:
    def __init__(self) -> None:
        self._now = 1000.0
        self._timers: list[tuple[float, int, VirtualTimer]] = []
        self._numbers = itertools.count()

    def now(self) -> float:
        return self._now

    def call_later(self, seconds: float, callback: Callable[[], object], /) -> VirtualTimer:
        timer = VirtualTimer(callback)
        heapq.heappush(self._timers, (self._now + seconds, next(self._numbers), timer))
        return timer

    def pass_(self, seconds: float) -> None:
        """Let time pass, and call what is due."""
        end = self._now + seconds
        while self._timers and self._timers[0][0] <= end:
            self._now, _, timer = heapq.heappop(self._timers)
            if timer.callback:
                timer.callback()
        self._now = end


class VirtualWorker:
    """One worker's link, and what came over it."""

    def __init__(self, queue: "VirtualQueue", models: list[str] | None, **joining: Any) -> None:
        self.jobs: dict[int, Call] = {}
        self.receipts: dict[int, str] = {}
        self.acknowledged: list[str] = []
        self.cancelled: list[int] = []
        self._dispatcher = queue.dispatcher
        self.number = queue.dispatcher.join(self, models, **joining)

    def give(self, job: int, call: Call, _waited_s: float, receipt: str, /) -> None:
        self.jobs[job], self.receipts[job] = call, receipt

    def cancel(self, job: int) -> None:
        self.cancelled.append(job)

    def drain(self, reason: str) -> None:
        pass

    def grant(self, number: int = 1) -> None:
        self._dispatcher.grant(self.number, number)

    def report(self, starting: Starting | None) -> None:
        self._dispatcher.report(self.number, starting)

    def piece(self, job: int, data: bytes = b"x") -> None:
        self._dispatcher.piece(self.number, job, data)

    def finish(self, job: int, end: End | None = None) -> None:
        call = self.jobs.pop(job)
        self._dispatcher.finish(self.number, job, call.request_id, end or End(200, {}))

    def tell_again(self, job: int, request_id: str, end: End, receipt: str) -> None:
        """What it was not acknowledged on an earlier connection."""
        acknowledged = partial(self.acknowledged.append, request_id)
        self._dispatcher.finish(self.number, job, request_id, end, receipt, acknowledged)

    def hand_back(self, job: int, *, failed: bool) -> None:
        del self.jobs[job]
        self._dispatcher.hand_back(self.number, job, failed=failed)

    def die(self) -> None:
        self.jobs.clear()
        self._dispatcher.lose(self.number)

    @property
    def asked(self) -> list[str]:
        """The ids of the requests that it has."""
        return [call.request_id for call in self.jobs.values()]


class VirtualLedger:
    """Commits at once."""

    def __init__(self) -> None:
        self.full = False
        self.rows: list[Entry] = []

    def record(self, entry: Entry, committed: Callable[[], None] | None = None) -> None:
        self.rows.append(entry)
        if committed:
            committed()

    def row(self, request_id: str = "r") -> Entry:
        """What the database has of a request, of which there may be several words."""
        first, *more = [entry for entry in self.rows if entry.request_id == request_id]
        for told in more:
            first = merged(first, told) or first
        return first


class VirtualQueue:
    def __init__(self, *models: str, **limits: Any) -> None:
        self.clock = VirtualClock()
        self.schedule = Schedule()
        metrics = Metrics(CollectorRegistry())
        names = ModelNames(models, self.schedule)
        self.ledger = VirtualLedger()
        books = Bookkeeper(self.ledger, metrics, self.clock, lambda: 1e9 + self.clock.now())
        books.receipts = Receipts("secret")
        self.dispatcher = Dispatcher(self.schedule, names, Limits(**limits), books, metrics, self.clock)

    def ask(self, request_id: str = "r", model: str = "m", raw: bytes = b"{}", **fields: Any) -> Exchange:
        """Raises ApiError as the dispatcher does."""
        return self.dispatcher.submit(
            Call(request_id, model, "/v1/chat/completions", raw, **fields), lambda: None, lambda: None
        )

    def worker(self, *models: str, credit: int = 0, **joining: Any) -> VirtualWorker:
        """A generalist if it serves no models."""
        worker = VirtualWorker(self, list(models) or None, **joining)
        if credit:
            worker.grant(credit)
        return worker


def error(exchange: Exchange) -> tuple[int, str]:
    """The status and the code that a request ended with."""
    assert exchange.end is not None, "it is under way"
    assert exchange.end.body is not None
    return exchange.end.status, exchange.end.body["error"]["code"]
