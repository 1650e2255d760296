"""Turns the ends of requests into rows: of those that were here, and of those that only a worker tells of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from headrace_queue.clock import Clock
from headrace_queue.exchange import Call, End, Exchange
from headrace_queue.ledger.counts import Counts, possible
from headrace_queue.ledger.entry import CONTINUED, CORRECTED, ESTIMATED, RECEIPT, UNCOUNTED, UNSIGNED, Entry
from headrace_queue.ledger.ledger import Recorder
from headrace_queue.ledger.outcome import outcome
from headrace_queue.ledger.receipts import Receipt, Receipts
from headrace_queue.ledger.writer import Committed
from headrace_queue.metrics import Metrics

_SLACK_SECONDS = 1.0
"""By which clocks, and a job on its way to the worker, may differ."""


@dataclass(frozen=True)
class Told:
    """A result for a request that this queue has not, or has no more."""

    request_id: str
    job: int
    end: End
    receipt: str
    worker: str
    model: str
    """One that the worker serves, should the receipt say nothing."""


class Bookkeeper:
    """Writes one row for each request."""

    def __init__(self, recorder: Recorder, metrics: Metrics, clock: Clock, wall: Callable[[], float]) -> None:
        self.receipts: Receipts | None = None
        """None until the database is open, where the secret is."""
        self._recorder = recorder
        self._metrics = metrics
        self._clock = clock
        self._wall = wall

    @property
    def full(self) -> bool:
        """Whether no more can be written down for now."""
        return self._recorder.full

    def receipt(self, call: Call, waited_s: float) -> str:
        """What the worker that gets this call now is to show with its result."""
        if self.receipts is None:
            return ""
        of = Receipt(call.key, call.model, call.adapter, self._wall() - waited_s, len(call.raw))
        return self.receipts.make(call.request_id, of)

    def refuse(self, call: Call, status: int) -> None:
        """Write down a request that was not taken in."""
        now = self._wall()
        row = Entry(call.request_id, call.key, call.model, call.adapter, "", 0, 0, 0, 0.0, now, None, None, now, "")
        self._recorder.record(row._replace(outcome=outcome(status, sent=False)))

    def close(self, exchange: Exchange) -> None:
        """Write down a request that has ended, and that no worker has any more."""
        end, call = exchange.end or End(499), exchange.call
        used = _used(exchange, end)
        now = self._clock.now()
        since = self._wall() - now
        counts, honest = _counts(exchange, used or End(), now)
        self._count(exchange.label, counts)
        entry = Entry(
            call.request_id, call.key, call.model, call.adapter, exchange.worker,
            counts.prompt_tokens, counts.cached_tokens, counts.completion_tokens, counts.gpu_seconds,
            exchange.began + since, _plus(exchange.started, since), _plus(exchange.first_byte, since), now + since,
            outcome(end.status, sent=exchange.sent),
            _doubts(used, honest=honest, continued=exchange.continued) if exchange.attempts else "",
        )  # fmt: skip
        acks = tuple(exchange.acks)
        self._recorder.record(entry, (lambda: _all(acks)) if acks else None)

    def told(self, told: Told, committed: Committed | None) -> None:
        """Write down what only a worker tells: the queue that had the request has died, or has done so already."""
        now = self._wall()
        read = self.receipts.read(told.request_id, told.receipt) if self.receipts else None
        receipt = read or Receipt("", told.model, "", now, 0)
        seconds = now - receipt.received_at + _SLACK_SECONDS
        counts, honest = possible(told.end.usage, told.end.gpu_seconds, receipt.request_bytes, None, seconds)
        doubts = [RECEIPT, *([] if read else [UNSIGNED]), _doubts(told.end, honest=honest, continued=False)]
        entry = Entry(
            told.request_id, receipt.key, receipt.model, receipt.adapter, told.worker,
            counts.prompt_tokens, counts.cached_tokens, counts.completion_tokens, counts.gpu_seconds,
            receipt.received_at, None, None, now, outcome(told.end.status, sent=True), " ".join(filter(None, doubts)),
        )  # fmt: skip
        self._recorder.record(entry, committed)

    def noticed(self, new: Sequence[Entry], label: Callable[[str], str]) -> None:
        """Rows are committed: what workers alone have told of counts from now on, for it was not here before."""
        for entry in new:
            if entry.doubts(RECEIPT):
                counts = Counts(entry.prompt_tokens, entry.cached_tokens, entry.completion_tokens)
                self._count(label(entry.model), counts)

    def _count(self, label: str, counts: Counts) -> None:
        self._metrics.requests.count_tokens(label, counts.prompt_tokens, counts.completion_tokens)


def _used(exchange: Exchange, end: End) -> End | None:
    """What its last worker has told, or else what its client has got of a stream."""
    used = exchange.used
    if (used is not None and (used.usage is not None or used.status == 200)) or not exchange.begun:
        return used
    usage = end.usage or exchange.given()
    return used if usage is None else End(end.status, usage=usage, estimated=True)


def _counts(exchange: Exchange, used: End, now: float) -> tuple[Counts, bool]:
    had_by_one = exchange.started if exchange.attempts == 1 else None
    seconds = now - (exchange.began if had_by_one is None else had_by_one) + _SLACK_SECONDS
    return possible(used.usage, exchange.gpu_seconds, len(exchange.call.raw), exchange.answered(used), seconds)


def _plus(moment: float | None, seconds: float) -> float | None:
    return None if moment is None else moment + seconds


def _doubts(used: End | None, *, honest: bool, continued: bool) -> str:
    words = [] if honest else [CORRECTED]
    if used is None or used.usage is None:
        words += [] if used is not None and 400 <= used.status < 499 else [UNCOUNTED]
    elif used.status != 200 or used.estimated:
        words += [ESTIMATED]
    words += [CONTINUED] if continued else []
    return " ".join(words)


def _all(acks: Sequence[Committed]) -> None:
    for ack in acks:
        ack()
