"""Carries out the schedule: gives jobs to connected workers and brings what they send back to the clients.

Nothing here awaits, so that every change is whole before anything else happens; time comes from the `Clock`.
"""

import asyncio
import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from headrace_api.load import Starting
from headrace_queue import errors
from headrace_queue.clock import Clock
from headrace_queue.continuation import Over
from headrace_queue.exchange import Call, End, Exchange
from headrace_queue.forecast import Forecast
from headrace_queue.ledger.bookkeeper import Bookkeeper, Told
from headrace_queue.limits import Limits
from headrace_queue.metrics import Metrics
from headrace_queue.models import ModelNames
from headrace_queue.room import Room
from headrace_queue.schedule import Schedule
from headrace_queue.steps import Steps, Wait
from headrace_queue.timeouts import Timeouts

_BROKEN = (502, 503)
"""After a part of the answer: the engine, or its worker, did not finish."""
_LAST_WORDS_SECONDS = 1
"""How long clients have to read the error that ends their answers when the queue stops."""


class WorkerLink(Protocol):
    """The connection of one worker, as the dispatcher sees it. No method blocks or raises."""

    def give(self, job: int, call: Call, waited_s: float, receipt: str, /) -> None:
        """Send the worker a job that has been here for so long; it shows the receipt with its result."""

    def cancel(self, job: int) -> None:
        """Ask the worker to stop a job."""

    def drain(self, reason: str) -> None:
        """Tell the worker that no further job will come."""


@dataclass
class _Seat:
    link: WorkerLink
    name: str
    jobs: set[int] = field(default_factory=set)
    draining: bool = False
    continues: bool = False
    """Whether it knows of answers that another worker has begun."""


@dataclass(frozen=True)
class _Job:
    exchange: Exchange
    worker: int


class Dispatcher:
    """The requests under way and the workers that are connected."""

    def __init__(  # noqa: PLR0913, PLR0917 - the parts that it puts to work
        self,
        schedule: Schedule,
        names: ModelNames,
        limits: Limits,
        books: Bookkeeper,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self.schedule = schedule
        self.limits = limits
        self._names = names
        self._books = books
        self._metrics = metrics
        self._clock = clock
        self._draining = False
        self._dismissing = False
        self._open: set[Exchange] = set()
        self._seats: dict[int, _Seat] = {}
        self._exchanges: dict[int, Exchange] = {}
        self._jobs: dict[int, _Job] = {}
        self._unbooked: dict[str, Exchange] = {}
        """Those that have no row in the ledger yet, by their requests' ids."""
        self._room = Room(limits)
        self._forecast = Forecast()
        self._holds = Timeouts[Exchange](clock, limits.hold_seconds, self._give_up)
        self._bounds = Timeouts[Exchange](clock, limits.request_seconds, self._take_too_long)
        self._numbers = itertools.count(1)
        self._watchers: set[asyncio.Event] = set()
        self._stopping: Steps | None = None

    # ---- clients

    def submit(self, call: Call, abort: Callable[[], None], news: Callable[[], None]) -> Exchange:
        """Take a request in; `abort` and `news` are the exchange's.

        Raises:
            ApiError: the queue stops, as much waits as may wait, or the answer is wanted before now.
        """
        if self._books.full:
            raise errors.ledger_full()
        if error := self._refusal(call):
            self._books.refuse(call, error.status)
            raise error
        label = self._names.label(call.model)
        began = self._clock.now()
        buffer = self.limits.client_buffer_bytes
        exchange = Exchange(call, next(self._numbers), label, buffer, abort, news, began)
        self._exchanges[exchange.ticket] = exchange
        self._unbooked[call.request_id] = exchange
        self._open.add(exchange)
        self._bounds.add(exchange)
        if call.deadline_s is not None and call.deadline_s < self.limits.request_seconds:
            exchange.deadline = self._clock.call_later(call.deadline_s, partial(self._be_too_late, exchange))
        self.schedule.enqueue(exchange.ticket, call, began)
        self._assign([call.model])
        if exchange.job is None:
            self._hold(exchange)
        return exchange

    def leave(self, exchange: Exchange) -> None:
        """The client has its answer, or has gone: what is still under way for it is stopped."""
        if not exchange.over:
            self._close(exchange, End(499))
        self._open.discard(exchange)
        self._notify()

    def settle(self) -> None:
        """The operator's first catalogue has come, or is waited for no longer: decide on what was held until then."""
        if not self._names.expecting:
            return
        self._names.expecting = False
        for exchange in list(self._exchanges.values()):
            exchange.label = self._names.label(exchange.call.model)
            if exchange.held and not self._names.known(exchange.call.model):
                unknown = errors.unknown_model(exchange.call.model, self._names.announced())
                self._close(exchange, End.failed(unknown))

    def eta(self, exchange: Exchange) -> float | None:
        """In how many seconds a request that waits will be begun; None where nothing is known."""
        call = exchange.call
        ready, now = self.schedule.is_ready(call.model), self._clock.now()
        return self._forecast.eta(call.base, self.schedule.ahead_of(exchange.ticket), now, ready=ready)

    # ---- workers

    def join(
        self,
        link: WorkerLink,
        models: Iterable[str] | None,
        name: str = "",
        starting: Starting | None = None,
        *,
        continues: bool = False,
    ) -> int:
        """A worker is there, with no credits yet; `models` is None for a generalist. Returns its number here.

        `name` is what the worker calls itself: in a pod, the pod's name. `starting` is None for one that is ready.
        `continues` tells whether it knows of answers that another worker has begun (`wire.Job.continues`).
        """
        worker = next(self._numbers)
        self._seats[worker] = _Seat(link, name, continues=continues)
        self.schedule.add(worker, models, name, starting)
        self._forecast.tell(worker, self.schedule.models_of(worker), starting, self._clock.now())
        if self._dismissing:
            self._dismiss(worker)
        self._notify()
        return worker

    def lose(self, worker: int) -> None:
        """A worker's connection has ended: its jobs go to others where their clients have seen nothing yet."""
        seat = self._seats.pop(worker)
        self._forecast.cold.lose(worker)
        self.schedule.remove(worker)
        for job in seat.jobs:
            exchange = self._jobs.pop(job).exchange
            exchange.job = None
            if exchange.over:
                self._book(exchange)
            else:
                self._try_again(exchange)
        self._assign(None)

    def grant(self, worker: int, number: int) -> None:
        """A worker can take so many more jobs."""
        if self.schedule.grant(worker, number):
            self._forecast.tell(worker, self.schedule.models_of(worker), None, self._clock.now())
        self._carry_out(self.schedule.decide_for(worker, self._clock.now()))

    def report(self, worker: int, starting: Starting | None, note: str = "") -> None:
        """How far a worker is that is not ready; None once it is, with what it says is amiss."""
        self._forecast.tell(worker, self.schedule.models_of(worker), starting, self._clock.now())
        if self.schedule.report(worker, starting, note):
            self._assign(None)
        else:
            self._notify()

    def replace_models(self, worker: int, models: Iterable[str]) -> None:
        """A worker answers to these models from now on: what waits for a new one is handed out at once."""
        self.schedule.replace_models(worker, models)
        self._assign(None)

    def stop_giving(self, worker: int) -> None:
        """A worker drains."""
        self._seats[worker].draining = True
        self._forecast.cold.lose(worker)
        self.schedule.drain(worker)
        self._assign(None)

    def piece(self, worker: int, job: int, data: bytes) -> None:
        """Bytes of an answer; those of jobs that nobody waits for any more are dropped."""
        exchange = self._exchange_of(worker, job)
        if exchange is None or not data:
            return
        self._note_first_byte(exchange)
        exchange.received += len(data)
        if not exchange.put(data):
            self._close(exchange, End.failed(errors.buffer_full(self.limits.client_buffer_bytes)))
            if exchange.sent:
                exchange.abort()

    def finish(  # noqa: PLR0913, PLR0917 - what a worker says of an end
        self,
        worker: int,
        job: int,
        request_id: str,
        end: End,
        receipt: str = "",
        committed: Callable[[], None] | None = None,
    ) -> None:
        """The end of a job, or the end of an earlier connection's job, told again: that is only written down.

        `committed` is called once the ledger has the request's row.
        """
        given = self._jobs.get(job)
        if given is None or given.worker != worker or given.exchange.call.request_id != request_id:
            self._told_again(worker, request_id, end, receipt, committed)
            return
        exchange = given.exchange
        self._forget(job)
        exchange.used = end = exchange.whole(end)
        if committed:
            exchange.acks.append(committed)
        if exchange.over:
            self._book(exchange)
        elif self._can_move(exchange, end):
            self.schedule.give_back(exchange.ticket)
            self._try_again(exchange)
            self._assign([exchange.call.model])
        else:
            self._note_first_byte(exchange)
            if end.usage is not None:
                self.schedule.settle(exchange.ticket, end.usage)
            self._close(exchange, end)

    def hand_back(self, worker: int, job: int, *, failed: bool) -> str | None:
        """A worker will not do a job: it waits again.

        From a worker that drains, this is not one of its attempts, unless the engine failed with it.

        Returns the request's id; None if nobody waits for it any more.
        """
        exchange = self._exchange_of(worker, job)
        over = self._forget(job, worker)
        if exchange is None:
            if over:
                self._book(over)
            return None
        exchange.worker, exchange.started = "", None
        self._metrics.handbacks.labels(exchange.label).inc()
        if self._seats[worker].draining and not failed:
            exchange.attempts -= 1
        self.schedule.give_back(exchange.ticket)
        self._try_again(exchange)
        self._assign([exchange.call.model])
        return exchange.call.request_id

    # ---- watching and stopping

    @contextmanager
    def watch(self) -> Iterator[asyncio.Event]:
        """An event that is set at every change of the load; whoever waits for it clears it."""
        event = asyncio.Event()
        self._watchers.add(event)
        try:
            yield event
        finally:
            self._watchers.discard(event)

    @property
    def draining(self) -> bool:
        """Whether this queue takes no more requests."""
        return self._draining

    def drain(self, seconds: float, done: Callable[[], None]) -> None:
        """Take no more requests and let those under way finish, for so long at most; then call `done`.

        For the first half of the time workers still get what waits; then what waits is refused, and workers are told
        that nothing more will come. What is unfinished at the end is broken off.
        """
        self._draining = True
        self._stopping = Steps(self._clock, self._stop(seconds), done)

    def _stop(self, seconds: float) -> Iterator[Wait]:
        yield lambda: self.schedule.waiting == 0, seconds / 2
        for exchange in [each for each in self._exchanges.values() if each.held]:
            self._close(exchange, End.failed(errors.draining()))
        self._dismissing = True
        for worker in self._seats:
            self._dismiss(worker)
        yield lambda: not self._open, seconds / 2
        for exchange in list(self._exchanges.values()):
            self._close(exchange, End.failed(errors.stopped()))
        yield lambda: not self._open, _LAST_WORDS_SECONDS

    # ---- inside

    def _assign(self, models: Iterable[str] | None) -> None:
        self._carry_out(self.schedule.decide(self._clock.now(), models))

    def _carry_out(self, decisions: Iterable[tuple[int, int]]) -> None:
        now = self._clock.now()
        for ticket, worker in decisions:
            exchange, seat = self._exchanges[ticket], self._seats[worker]
            self._release(exchange)
            exchange.attempts += 1
            exchange.worker, exchange.started = seat.name, now
            if seat.continues:
                exchange.keep()
            exchange.job = job = next(self._numbers) % 2**32
            self._jobs[job] = _Job(exchange, worker)
            seat.jobs.add(job)
            waited_s = now - exchange.began
            receipt = self._books.receipt(exchange.call, waited_s)
            seat.link.give(job, exchange.call, waited_s, receipt)
            self._forecast.handed_out(exchange.call.base, now)
            if exchange.call.continues and not seat.continues:
                self._close(exchange, self._broken_off(exchange))  # it would say something else
        self._notify()

    def _try_again(self, exchange: Exchange) -> None:
        """For an exchange that the schedule has waiting again after a worker failed it."""
        exchange.job = None
        spent = self._dismissing or exchange.attempts >= self.limits.max_attempts
        goes_on = not exchange.sent or exchange.go_on()
        self._hold(exchange)
        if isinstance(goes_on, Over):
            exchange.put_last(goes_on.data)
            self._close(exchange, End(200, usage=goes_on.usage))
        elif exchange.sent and (spent or not goes_on):
            self._close(exchange, self._broken_off(exchange))
        elif self._dismissing:
            self._close(exchange, End.failed(errors.draining()))
        elif spent:
            self._close(exchange, End.failed(errors.too_many_attempts(exchange.attempts)))
        else:
            exchange.restart()

    def _can_move(self, exchange: Exchange, end: End) -> bool:
        """Whether a stream that its worker has broken off may be had from another one."""
        if not (end.status in _BROKEN and exchange.call.stream and exchange.begun) or self._dismissing:
            return False
        return exchange.attempts < self.limits.max_attempts and (not exchange.sent or bool(exchange.go_on()))

    @staticmethod
    def _broken_off(exchange: Exchange) -> End:
        """The end of a stream that nobody can continue; tells what the client has got."""
        error, usage = errors.worker_lost(), exchange.given()
        told = {} if usage is None else {"usage": usage.model_dump(include={"completion_tokens"})}
        end = End(error.status, {**error.body(), **told}, usage)
        exchange.used = exchange.used or end
        return end

    def _close(self, exchange: Exchange, end: End) -> None:
        """End an exchange; a job that a worker still has for it is cancelled."""
        exchange.over = True
        waited = exchange.held
        self._release(exchange)
        self._bounds.discard(exchange)
        if exchange.deadline:
            exchange.deadline.cancel()
        del self._exchanges[exchange.ticket]
        self.schedule.withdraw(exchange.ticket)
        if waited and not self.schedule.waiting_for(exchange.call.model):
            self._forecast.cold.release(exchange.call.base, self._clock.now())
        given = self._jobs.get(exchange.job) if exchange.job is not None else None
        if given is not None and exchange.job is not None:
            self._seats[given.worker].link.cancel(exchange.job)
        exchange.finish(end)
        if given is None:
            self._book(exchange)
        self._notify()

    def _book(self, exchange: Exchange) -> None:
        """Write its row: it has ended, and no worker has it any more."""
        if self._unbooked.pop(exchange.call.request_id, None):
            self._books.close(exchange)

    def _told_again(
        self, worker: int, request_id: str, end: End, receipt: str, committed: Callable[[], None] | None
    ) -> None:
        exchange = self._unbooked.get(request_id)
        if exchange is not None:
            # Another attempt is under way: the row will be that one's.
            exchange.acks += [committed] if committed else []
            return
        model = min(self.schedule.models_of(worker) or (), default="")
        told = Told(request_id, end, receipt, self._seats[worker].name, model)
        self._books.told(told, committed)

    def _hold(self, exchange: Exchange) -> None:
        """It waits; nothing of this is done for what is handed out at once."""
        exchange.held = True
        self._room.add(exchange.call)
        self._holds.add(exchange)
        if not self.schedule.serves(exchange.call.model):
            self._forecast.cold.hold(exchange.call.base, self._clock.now())

    def _release(self, exchange: Exchange) -> None:
        if exchange.held:
            exchange.held = False
            self._room.remove(exchange.call)
            self._holds.discard(exchange)

    def _give_up(self, exchange: Exchange) -> None:
        call, seconds, eta = exchange.call, self.limits.hold_seconds, self._eta(exchange.call)
        if self.schedule.is_ready(call.model):
            error = errors.no_room(call.model, seconds, eta)
        else:
            error = errors.no_worker(call.model, seconds, self.schedule.starting(call.model), eta)
        self._close(exchange, End.failed(error))

    def _take_too_long(self, exchange: Exchange) -> None:
        self._close(exchange, End.failed(errors.timed_out(self.limits.request_seconds)))

    def _refusal(self, call: Call) -> errors.ApiError | None:
        if self._draining:
            return errors.draining()
        if call.deadline_s is not None and call.deadline_s <= 0:
            return errors.too_late(call.deadline_s)
        if not self.schedule.free(call.model) and (full := self._room.full(call)):
            starting = [] if self.schedule.is_ready(call.model) else self.schedule.starting(call.model)
            return errors.saturated(full, starting, self._eta(call))
        return None

    def _be_too_late(self, exchange: Exchange) -> None:
        self._close(exchange, End.failed(errors.too_late(exchange.call.deadline_s)))

    def _eta(self, call: Call) -> float | None:
        """Seconds until a further request would be begun."""
        ready, ahead = self.schedule.is_ready(call.model), self.schedule.waiting_for(call.model)
        return self._forecast.eta(call.base, ahead, self._clock.now(), ready=ready)

    def _exchange_of(self, worker: int, job: int) -> Exchange | None:
        given = self._jobs.get(job)
        return given.exchange if given and given.worker == worker and not given.exchange.over else None

    def _forget(self, job: int, worker: int | None = None) -> Exchange | None:
        """Take a job from its worker; returns whose it was if that has ended."""
        given = self._jobs.get(job)
        if given is None or worker not in {None, given.worker}:
            return None
        del self._jobs[job]
        self._seats[given.worker].jobs.discard(job)
        given.exchange.job = None
        return given.exchange if given.exchange.over else None

    def _dismiss(self, worker: int) -> None:
        self.schedule.drain(worker)
        self._seats[worker].link.drain("the queue stops")

    def _note_first_byte(self, exchange: Exchange) -> None:
        if exchange.first_byte is None:
            exchange.first_byte = self._clock.now()

    def _notify(self) -> None:
        for event in self._watchers:
            event.set()
        if self._stopping:
            self._stopping.look()
