"""Carries out the schedule: gives jobs to connected workers and brings what they send back to the clients.

Nothing here awaits, so that every change is whole before anything else happens; time comes from the `Clock`.
"""

import asyncio
import itertools
from collections.abc import Callable, Iterable, Iterator

from msgspec.structs import replace

from headrace_api.load import Starting
from headrace_api.wire import Usage
from headrace_queue import demand, errors, retries
from headrace_queue.clock import Clock
from headrace_queue.deadlines import Deadlines
from headrace_queue.exchange import Call, End, Exchange
from headrace_queue.failures import Failures
from headrace_queue.ledger.bookkeeper import Bookkeeper, Told
from headrace_queue.ledger.open_rows import OpenRows
from headrace_queue.limits import Limits
from headrace_queue.metrics import Metrics
from headrace_queue.models import ModelNames
from headrace_queue.needs import CONTINUES
from headrace_queue.patience import Patience
from headrace_queue.schedule import Schedule, work
from headrace_queue.seats import Job, Seat, Seats, WorkerLink
from headrace_queue.steps import Steps, Wait
from headrace_queue.waiting_room import WaitingRoom
from headrace_queue.watching import Watchers

_LAST_WORDS_SECONDS = 1
"""How long clients have to read the error that ends their answers when the queue stops."""


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
        self._places = Seats()
        self._seats, self._jobs = self._places.workers, self._places.jobs
        self._exchanges: dict[int, Exchange] = {}
        self._rows = OpenRows(books)
        self._book = self._rows.book
        self.streamed = self._rows.streamed
        self.waiting_room = WaitingRoom(schedule, limits, clock, self._give_up)
        self.eta = self.waiting_room.eta_of
        self._forecast = self.waiting_room.forecast
        self._failures = Failures(schedule, clock, limits.max_attempts, self._resume)
        self._patience = Patience(schedule, clock, limits, self._jobs, self._move)
        self._deadlines = Deadlines(clock, limits.request_seconds, self._break_off)
        self._numbers = itertools.count(1)
        self._watchers = Watchers()
        self.watch = self._watchers.watch
        self.waits = asyncio.Event()
        """Set when requests wait for which nobody has a credit; whoever waits for it clears it."""
        self._stopping: Steps | None = None

    # ---- clients

    def submit(self, call: Call, abort: Callable[[], None], news: Callable[[], None]) -> Exchange:
        """Take a request in; `abort` and `news` are the exchange's.

        Raises:
            ApiError: the queue stops, as much waits as may wait, or the answer is wanted before now.
        """
        if self._books.full:
            raise errors.ledger_full()
        if error := (errors.draining() if self._draining else self.waiting_room.refusal(call)):
            self._books.refuse(call, error.status)
            raise error
        label, now = self._names.label(call.model), self._clock.now()
        buffer = self.limits.client_buffer_bytes
        exchange = Exchange(call, next(self._numbers), label, buffer, abort, news, now)
        self._exchanges[exchange.ticket] = exchange
        self._rows.open(exchange)
        self._open.add(exchange)
        self._deadlines.add(exchange)
        self._carry_out(self.schedule.place(exchange.ticket, call, now))
        if exchange.job is None:
            self.waiting_room.enter(exchange)
        return exchange

    def leave(self, exchange: Exchange) -> None:
        """The client has its answer, or has gone: what is still under way for it is stopped."""
        if not (exchange.over or exchange.complete):
            self._break_off(exchange, End(499))
        self._open.discard(exchange)
        if self._stopping:
            self._stopping.look()

    def settle(self) -> None:
        """The operator's first catalogue has come, or is waited for no longer: decide on what was held until then."""
        if not self._names.expecting:
            return
        self._names.expecting = False
        for exchange in list(self._exchanges.values()):
            exchange.label = self._names.label(exchange.call.model)
            if exchange.held and not self._names.known(exchange.call.model):
                self._close(exchange, End.failed(errors.unknown_model(exchange.call.model)))

    # ---- workers

    def join(  # noqa: PLR0913, PLR0917 - what it says of itself
        self,
        link: WorkerLink,
        models: Iterable[str] | None,
        name: str = "",
        starting: Starting | None = None,
        offers: frozenset[str] = frozenset(),
        memory_mb: int = 0,
        *,
        continues: bool = False,
    ) -> int:
        """A worker is there, with no credits yet. Returns its number here. See `Schedule.add`.

        `continues` tells whether it knows of answers that another worker has begun (`wire.Job.continues`).
        """
        worker = next(self._numbers)
        self._seats[worker] = Seat(worker, link, name, continues=continues)
        if continues:
            offers |= {CONTINUES}
        self.schedule.add(worker, models, name, starting, offers, memory_mb)
        self._forecast.tell(worker, self.schedule.models_of(worker), starting, self._clock.now())
        if self._dismissing:
            self._dismiss(worker)
        self._notify()
        return worker

    def lose(self, worker: int) -> None:
        """A worker's connection has ended: its jobs go to others where their clients have seen nothing yet."""
        lost = self._places.lose(worker)
        self._forecast.cold.lose(worker)
        self.schedule.remove(worker)
        self._failures.die([given.exchange for given in lost if not given.exchange.over])
        for given in lost:
            if given.exchange.over:
                self._settle_late(given, None)
                self._book(given.exchange)
            else:
                self._try_again(given.exchange)
        self._assign(None)

    def grant(self, worker: int, number: int) -> None:
        """A worker can take so many more jobs."""
        if self.schedule.grant(worker, number):
            self._forecast.tell(worker, self.schedule.models_of(worker), None, self._clock.now())
        self._carry_out(self.schedule.decide_for(worker))

    def take_back(self, worker: int, number: int) -> int:
        """A worker wants so many unused credits back, for another replica; returns how many it gets."""
        return self.schedule.take_back(worker, number)

    def what_waits(self) -> list[demand.Wait]:
        """What waits, with the workers that could serve it."""
        if self._dismissing:
            return []
        return [
            demand.Wait(number, self._exchanges[oldest].began, self.schedule.ready_for(model))
            for model, number, oldest in self.schedule.waits()
        ]

    def report(self, worker: int, starting: Starting | None, note: str = "") -> None:
        """How far a worker is that is not ready; None once it is, with what it says is amiss."""
        self._forecast.tell(worker, self.schedule.models_of(worker), starting, self._clock.now())
        self._assign(None if self.schedule.report(worker, starting, note) else ())

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
        given = self._jobs.get(job)
        if given is None or given.worker != worker or given.abandoned or not data:
            return
        exchange = given.exchange
        exchange.received += len(data)  # what nobody waits for any more was said, too: see `ledger.counts`
        if exchange.over:
            return
        if not given.begun:
            self._patience.began(job)
            exchange.used = None  # what one before it said of its end is not about what comes now
        if not exchange.put(data):
            self._break_off(exchange, End.failed(errors.buffer_full(self.limits.client_buffer_bytes)))
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
        given = self._places.of(worker, job)
        if given is not None and given.exchange.call.request_id != request_id:
            given = None
        if given is not None:
            self._take(job)
            given.exchange.gpu_seconds += end.gpu_seconds
        if given is None or given.abandoned:
            model = min(self.schedule.models_of(worker) or (), default="")
            self._rows.told_again(Told(request_id, job, end, receipt, self._seats[worker].name, model), committed)
            return
        exchange = given.exchange
        exchange.used = end = exchange.whole(end)
        usage = exchange.credible(end)
        if committed:
            exchange.acks.append(committed)
        if exchange.over:
            self._settle_late(given, usage)
            self._book(exchange)
            return
        if not self._dismissing and retries.can_move(exchange, end, self.limits.max_attempts):
            exchange.strikes += 1
            self.schedule.give_back(exchange.ticket)
            self._try_again(exchange)
            self._go_on_without(exchange, worker)
            return
        takes_more = self._failures.judge(worker, is_well=end.status < 500 or given.begun)
        exchange.note_first_byte(self._clock.now())
        if usage is not end.usage:
            end = replace(end, usage=usage)
        if usage is not None:
            self.schedule.settle(exchange.ticket, usage)
        self._close(exchange, retries.told(exchange, end))
        if takes_more or exchange.suspect:
            self._carry_out(self.schedule.decide_for(worker))

    def hand_back(self, worker: int, job: int, *, failed: bool) -> str | None:
        """A worker will not do a job: it waits again.

        From a worker that drains, this is not one of its attempts, unless the engine failed with it.

        Returns the request's id; None if nobody waits for it any more.
        """
        given = self._places.of(worker, job)
        if given is None:
            return None
        self._take(job)
        exchange = given.exchange
        if not given.is_live:
            if not given.abandoned:
                self._book(exchange)
            return None
        exchange.worker, exchange.started = "", None
        self._metrics.handbacks.labels(exchange.label).inc()
        self.schedule.give_back(exchange.ticket)
        if failed:
            mates = (self._jobs[each] for each in self._seats[worker].jobs)
            self._failures.lose_engine(self._seats[worker], exchange, mates)
        elif self._seats[worker].draining:
            exchange.attempts -= 1
        else:
            exchange.strikes += 1
        self._try_again(exchange)
        self._go_on_without(exchange, worker)
        return exchange.call.request_id

    # ---- watching and stopping

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
        self._carry_out(self.schedule.decide(models))

    def _go_on_without(self, exchange: Exchange, worker: int) -> None:
        """A worker has it no longer: others may take it, and that worker, what it was not given because of it.

        That may be for any of its models: next to a suspect there is no other one, and next to a probe nothing at all.
        """
        self._assign([exchange.call.model])
        self._carry_out(self.schedule.decide_for(worker))

    def _carry_out(self, decisions: Iterable[tuple[int, int]]) -> None:
        for ticket, worker in decisions:
            self._give(self._exchanges[ticket], worker)
        if self.schedule.waiting:
            self.waits.set()
        self._notify()

    def _give(self, exchange: Exchange, worker: int) -> None:
        call, now, job = exchange.call, self._clock.now(), next(self._numbers) % 2**32
        if exchange.held:
            self.waiting_room.leave(exchange)
        seat = self._places.give(job, exchange, worker, now)
        if seat.continues:
            exchange.keep()
        if call.stream:
            self._patience.add(job)
        waited_s = now - exchange.began
        seat.link.give(job, call, waited_s, self._books.receipt(call, waited_s))
        self._forecast.handed_out(call.base, now)

    def _try_again(self, exchange: Exchange) -> None:
        """For an exchange that the schedule has waiting again after a worker failed it."""
        exchange.job = None
        end = retries.ending(exchange, self.limits.max_attempts, dismissing=self._dismissing)
        if end is None and not self._can_go_on(exchange):
            end = retries.broken_off(exchange)
        self.waiting_room.enter(exchange)
        if end is None:
            exchange.restart()
        else:
            self._close(exchange, replace(end, usage=exchange.credible(end)))

    def _can_go_on(self, exchange: Exchange) -> bool:
        """Have it wait for those that can do what it needs now; False where there are workers, and none of them can."""
        call, schedule = exchange.call, self.schedule
        if not call.continues:
            return True
        schedule.require(exchange.ticket, call.needs)
        return schedule.offered(call.model, call.needs) or not schedule.offered(call.model, exchange.asked.needs)

    def _close(self, exchange: Exchange, end: End) -> None:
        """End an exchange; a job that a worker still has for it is cancelled."""
        exchange.over = True
        self._deadlines.discard(exchange)
        del self._exchanges[exchange.ticket]
        entry = self.schedule.withdraw(exchange.ticket)
        if exchange.held:
            self.waiting_room.gave_up(exchange)
        given = None if exchange.job is None else self._jobs[exchange.job]
        if given is not None and exchange.job is not None:
            given.owed = entry
            self._seats[given.worker].link.cancel(exchange.job)
        exchange.finish(end)
        if given is None:
            self._book(exchange)
        self._notify()

    def _break_off(self, exchange: Exchange, end: End) -> None:
        """End an exchange; a worker that was given nothing more because of it may take the next one."""
        given = None if exchange.job is None else self._jobs[exchange.job]
        self._close(exchange, end)
        if given is not None:
            self._go_on_without(exchange, given.worker)

    def _settle_late(self, given: Job, usage: Usage | None) -> None:
        """The worker of an exchange that is over tells what it used, or can no longer."""
        usage = usage or work.guessed(given.exchange.asked, given.exchange.streamed)
        if given.owed is not None and usage is not None:
            self.schedule.settle_late(given.owed, usage)
            given.owed = None

    def _give_up(self, exchange: Exchange) -> None:
        too_long = self.waiting_room.too_long(exchange.call)
        self._close(exchange, retries.broken_off(exchange) if exchange.sent else End.failed(too_long))

    def _resume(self, worker: int) -> None:
        if worker in self._seats:
            self._carry_out(self.schedule.decide_for(worker))

    def _move(self, job: int) -> None:
        """A worker is too slow with a job: another one takes the request."""
        given = self._jobs[job]
        exchange = given.exchange
        given.abandoned = True
        exchange.worker, exchange.started = "", None
        self._seats[given.worker].link.cancel(job)
        self.schedule.give_back(exchange.ticket)
        exchange.strikes += 1
        self._failures.fail(given.worker)
        self._try_again(exchange)
        self._go_on_without(exchange, given.worker)

    def _take(self, job: int) -> None:
        if self._places.take(job).exchange.call.stream:
            self._patience.discard(job)

    def _dismiss(self, worker: int) -> None:
        self.schedule.drain(worker)
        self._seats[worker].link.drain("the queue stops")

    def _notify(self) -> None:
        self._watchers.notify()
        if self._stopping:
            self._stopping.look()
