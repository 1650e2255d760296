"""The waiting and the running requests, and the workers that take them.

A request is a `ticket`: a number that grows with arrival. Times are in seconds on whatever clock the caller has.
"""

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence

from headrace_api.load import ModelLoad, Starting
from headrace_api.wire import MOST_CREDITS, Usage
from headrace_queue.exchange import Call
from headrace_queue.schedule import feed, work
from headrace_queue.schedule.demand import Demands
from headrace_queue.schedule.order import in_order
from headrace_queue.schedule.shares import Entry, Lane, Shares
from headrace_queue.schedule.worker import Worker
from headrace_queue.schedule.workforce import Workforce

AGEING_SECONDS = 30.0
"""A key that has got nothing with a priority for so long has one more there."""

_AVOIDED = 7
SLACK_REQUESTS = 8
"""A conversation goes back to its worker unless that has so many requests more than the best one."""


class Schedule:
    """Decides; whoever asks carries it out."""

    def __init__(
        self, generalist_patterns: Sequence[str] = ("*",), ageing_s: float = AGEING_SECONDS, slack: int = SLACK_REQUESTS
    ) -> None:
        self._force = Workforce(generalist_patterns, slack)
        self._demands = Demands(ageing_s, self._force.for_generalists)
        self._estimates = work.Estimates()
        self._taken: dict[str, int] = {}
        """Only of models that `load` told of last: clients may ask for any number of others."""

    # ---- workers

    def add(  # noqa: PLR0913, PLR0917 - what it says of itself
        self,
        worker: int,
        models: Iterable[str] | None,
        name: str = "",
        starting: Starting | None = None,
        offers: frozenset[str] = frozenset(),
        memory_mb: int = 0,
    ) -> None:
        """Let a worker in, without credits; `models` is None for a generalist, `starting` for one that is ready.

        `name` is what it calls itself: in a pod, the pod's name.
        `offers` is what requests may need, see `headrace_queue.needs`; `memory_mb` is a generalist's, of all its GPUs.
        """
        served = None if models is None else frozenset(models)
        self._force.workers[worker] = one = Worker(worker, served, name, starting, offers, memory_mb=max(0, memory_mb))
        self._enter(one)

    def report(self, worker: int, starting: Starting | None, note: str = "") -> bool:
        """How far a worker is, None for ready; and `note`, what is amiss with one that is.

        Returns whether it was ready before and is not now, or the other way round. Until it is ready again its credits
        rest, and others may take its place.
        """
        one = self._force.workers[worker]
        one.note = note
        if (one.starting is None) == (starting is None):
            one.starting = starting
            return False
        self._leave(one)
        one.starting = starting
        if starting:
            self._force.affinity.forget(worker)  # the engine's cache is gone
        self._enter(one)
        return True

    def replace_models(self, worker: int, models: Iterable[str]) -> None:
        """A dedicated worker answers to these from now on; what it has of others, it keeps."""
        one = self._force.workers[worker]
        self._leave(one)
        one.models = frozenset(models)
        self._enter(one)

    def drain(self, worker: int) -> None:
        """Give this worker nothing more; what it has, it keeps."""
        one = self._force.workers[worker]
        self._leave(one)
        one.credits, one.draining = 0, True

    def remove(self, worker: int) -> None:
        """Forget a worker; the tickets that it had wait again, at their old places."""
        self.drain(worker)
        for ticket in list(self._force.workers[worker].entries):
            self.give_back(ticket)
        self._force.affinity.forget(worker)
        del self._force.workers[worker]

    def grant(self, worker: int, credits_: int) -> bool:
        """The worker can take so many more, `MOST_CREDITS` in all; a draining worker's credits count for nothing.

        Returns whether that is how one is known to be ready that was not.
        """
        one = self._force.workers[worker]
        if one.draining:
            return False
        was_starting = one.starting is not None
        if was_starting:
            self.report(worker, None)
        one.credits = min(one.credits + credits_, MOST_CREDITS)
        self._force.rank(one)
        return was_starting

    def take_back(self, worker: int, credits_: int) -> int:
        """The worker wants so many unused credits back; returns how many it gets."""
        one = self._force.workers[worker]
        taken = min(one.credits, credits_)
        one.credits -= taken
        self._force.rank(one)
        return taken

    def waits(self) -> list[tuple[str, int, int]]:
        """Every model that has requests waiting: its name, how many, and the oldest ticket."""
        return self._demands.waits()

    def ready_for(self, model: str) -> list[int]:
        """The dedicated workers that take requests for `model`."""
        return [worker.number for worker in self._force.members(model) if worker.starting is None]

    # ---- requests

    def enqueue(self, ticket: int, call: Call, now: float = 0.0) -> None:
        """A request waits."""
        self._demands.wait(self._admit(ticket, call, now))

    def place(self, ticket: int, call: Call, now: float = 0.0) -> Iterable[tuple[int, int]]:
        """A request comes: `enqueue`, then `decide` for its model, but faster if nothing waits there.

        Then it is the only one to decide on: it goes to the worker that is chosen without having waited.
        """
        entry = self._admit(ticket, call, now)
        shares = entry.demand.shares
        if shares.waiting:
            self._demands.wait(entry)
            return self._decide({shares})
        worker = self._force.choose(entry.line.lane, call.prefixes)
        if worker is None:
            self._demands.wait(entry)
            return ()
        self._hand_out(entry, worker)
        return ((ticket, worker.number),)

    def give_back(self, ticket: int) -> None:
        """A running ticket waits again, at its old place."""
        entry = self._demands.entries[ticket]
        if entry.worker is not None:
            entry.avoid = (*entry.avoid[-_AVOIDED:], entry.worker)
        self._take_from(entry)
        self._demands.give_back(entry)

    def isolate(self, ticket: int) -> None:
        """A waiting ticket is suspected of killing engines: no worker gets more than one like it at a time."""
        entry = self._demands.entries[ticket]
        lane = entry.line.lane
        if not lane.alone:
            self._demands.move(entry, lane._replace(alone=True))

    def require(self, ticket: int, needs: frozenset[str]) -> None:
        """A waiting ticket is for workers that offer this."""
        entry = self._demands.entries[ticket]
        lane = entry.line.lane
        if lane.needs != needs:
            self._demands.move(entry, lane._replace(needs=needs))

    def settle(self, ticket: int, usage: Usage) -> None:
        """What a running ticket has used: its key's share is corrected by that."""
        self.settle_late(self._demands.entries[ticket], usage)

    def settle_late(self, entry: Entry, usage: Usage) -> None:
        """The same of a ticket that was withdrawn while it ran."""
        self._estimates.learn(entry.call.model, usage)
        entry.demand.shares.correct(entry, work.known(usage))

    def withdraw(self, ticket: int) -> Entry:
        """Forget a ticket, waiting or running: it is answered, or its client has left.

        Returns what `settle_late` needs, where its worker has yet to tell what it has used.
        """
        entry = self._demands.entries[ticket]
        if entry.worker is not None:
            self._take_from(entry)
        self._demands.leave(entry)
        return entry

    def decide(self, models: Iterable[str] | None = None) -> Iterator[tuple[int, int]]:
        """Hand out `(ticket, worker)` until nothing fits; only among `models` if they are given.

        Of one model's requests, the one that its `Shares` say; of several models', the oldest of those.
        """
        demands = self._demands.models
        names = demands.keys() if models is None else demands.keys() & models
        yield from self._decide({demands[model].shares for model in names})

    def decide_for(self, worker: int) -> Iterable[tuple[int, int]]:
        """The same, for a worker that has got credits."""
        if not self.waiting:
            return ()
        models = self._force.workers[worker].models
        return self._decide_for_generalists() if models is None else self.decide(models)

    def free(self, model: str, needs: frozenset[str] = frozenset()) -> bool:
        """Whether a request for `model` would be taken at once."""
        lane = Lane(model, needs)
        demand = self._demands.models.get(model)
        return not (demand and lane in demand.lanes) and self._force.choose(lane) is not None

    # ---- how workers do

    def began(self, worker: int, seconds: float) -> None:
        """The first token of a stream came so long after its job."""
        self._force.began(self._force.workers[worker], seconds)

    def succeed(self, worker: int) -> bool:
        """A worker has answered a request. Returns whether it takes more from now on, having shown that it is well."""
        one = self._force.workers[worker]
        was_probing = one.health.probing
        if one.health.failures or was_probing:
            one.health.succeeded()
            self._force.rank(one)
        return was_probing

    def fail(self, worker: int) -> float | None:
        """A worker has failed a request. Returns for how many seconds it is given nothing: then `try_again`."""
        one = self._force.workers[worker]
        seconds = one.health.failed(may_rest=self._force.has_stand_in(one))
        self._force.rank(one)
        return seconds

    def try_again(self, worker: int) -> None:
        """A worker has rested: it gets one request, and more once it has answered that. It may have left by now."""
        if one := self._force.workers.get(worker):
            one.health.try_again()
            self._force.rank(one)

    def usual_first_token(self, worker: int) -> float | None:
        """Seconds from a job to its first token, on average of late, of workers like this one; None if unknown."""
        pool = self._force.pool_of(self._force.workers[worker])
        return pool.first_token_s if pool else None

    def has_other(self, ticket: int) -> bool:
        """Whether another worker than the one that has it takes a ticket at once, and no other waits for that."""
        entry = self._demands.entries[ticket]
        lane = entry.line.lane
        if entry.demand.lanes.get(lane) or entry.worker is None:
            return False
        avoid = (*entry.avoid, entry.worker)
        best = self._force.choose(lane, avoid=avoid)
        return best is not None and best.number not in avoid

    # ---- what there is

    def serves(self, model: str) -> bool:
        """Whether a connected worker takes requests for `model`, or will when it is ready."""
        return self.has_dedicated(model) or bool(self.generalists and self._force.matches(model))

    def is_ready(self, model: str) -> bool:
        """Whether a connected worker takes requests for `model` now, even if it has no room."""
        return self._force.is_served(model) or bool(self.generalists and self._force.matches(model))

    def offered(self, model: str, needs: frozenset[str]) -> bool:
        """Whether a worker that takes requests for `model` has what is needed, even if it has no room."""
        return self._force.offered(Lane(model, needs))

    def kinds(self, model: str, needs: frozenset[str]) -> int:
        """How many kinds of needs other than these wait for `model`."""
        demand = self._demands.models.get(model)
        return len({lane.needs for lane in demand.lanes} - {needs}) if demand else 0

    def waiting_for(self, model: str) -> int:
        """How many requests for `model` wait."""
        return self._demands.waiting(model)

    def in_order(self) -> Iterator[tuple[int, Entry]]:
        """What waits, and how many of its model go before it, were nothing else to come; those that are next first."""
        shares = {demand.shares.name: demand.shares for demand in self._demands.models.values()}
        return heapq.merge(*(enumerate(in_order(each)) for each in shares.values()), key=lambda each: each[0])

    def positions(self, model: str) -> dict[int, int]:
        """How many go before each that waits for a model or its adapters, by ticket; O(n log n)."""
        demand = self._demands.models.get(model)
        return {entry.ticket: place for place, entry in enumerate(in_order(demand.shares))} if demand else {}

    def models_of(self, worker: int) -> frozenset[str] | None:
        """The models that a worker is dedicated to; None for a generalist."""
        return self._force.workers[worker].models

    def dedicated(self) -> set[str]:
        """The models that dedicated workers serve, or will when they are ready."""
        return self._force.models

    def has_dedicated(self, model: str) -> bool:
        """Whether a dedicated worker takes requests for `model`, or will when it is ready."""
        return model in self._force

    def starting(self, model: str) -> list[Starting]:
        """How far the workers are that will serve `model`."""
        return [one.starting for one in self._force.members(model) if one.starting]

    @property
    def workers(self) -> Mapping[int, Worker]:
        """All that are connected; to look at."""
        return self._force.workers

    @property
    def generalists(self) -> int:
        """How many generalists take work."""
        return len(self._force.generalists.members)

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return len(self._demands.entries) - self._demands.running

    @property
    def running(self) -> int:
        """How many requests workers have."""
        return self._demands.running

    def load(self, models: Iterable[str] = ()) -> dict[str, ModelLoad]:
        """The load of `models` and of all others that have requests; `workers` counts dedicated ones."""
        names = sorted({*models, *self._demands.models})
        self._taken = {model: self._taken.get(model, 0) for model in names}
        workers = self._force.workers.values()
        starting, notes, in_flight = feed.starting(workers), feed.notes(workers), feed.in_flight(workers)
        return {
            model: ModelLoad(
                queued=self._demands.waiting(model),
                running=self._demands.running_of(model),
                workers=self._force.serving(model),
                starting=starting.get(model, {}),
                notes=notes.get(model, {}),
                in_flight=in_flight.get(model, {}),
                taken=self._taken[model],
            )
            for model in names
        }

    # ---- inside

    def _enter(self, worker: Worker) -> None:
        self._force.enter(worker)
        self._demands.reconsider(worker.models)

    def _leave(self, worker: Worker) -> None:
        self._force.leave(worker)
        self._demands.reconsider(worker.models)

    def _admit(self, ticket: int, call: Call, now: float) -> Entry:
        if call.model in self._taken:
            self._taken[call.model] += 1
        return self._demands.enter(ticket, call, now, self._estimates.work(call))

    def _decide(self, among: set[Shares]) -> Iterator[tuple[int, int]]:
        closed: set[Lane] = set()
        heads = [(entry.ticket, entry) for shares in among if (entry := shares.head())]
        heapq.heapify(heads)
        while heads:
            entry = heapq.heappop(heads)[1]
            worker = self._force.choose(entry.line.lane, entry.call.prefixes, entry.avoid)
            if worker is None:
                closed.add(entry.line.lane)
            else:
                self._demands.wait_no_more(entry)
                self._hand_out(entry, worker)
            if following := entry.demand.shares.head(closed):
                heapq.heappush(heads, (following.ticket, following))
            if worker is not None:
                yield entry.ticket, worker.number

    def _decide_for_generalists(self) -> Iterator[tuple[int, int]]:
        """One request of each model in turn: of models that only generalists serve there may be any number."""
        homeless = self._demands.homeless
        while homeless:
            lane, demand = next(iter(homeless.items()))
            entry = demand.shares.head(only=lane)
            worker = self._force.choose(lane, avoid=entry.avoid) if entry else None
            if worker is None or entry is None:
                return
            self._demands.wait_no_more(entry)
            self._hand_out(entry, worker)
            if lane in homeless:
                homeless.move_to_end(lane)
            yield entry.ticket, worker.number

    def _hand_out(self, entry: Entry, worker: Worker) -> None:
        self._demands.serve(entry, worker.number)
        worker.credits -= 1
        worker.entries[entry.ticket] = entry
        worker.suspects += entry.line.lane.alone
        if worker.models is None:
            self._force.generalists.serve(worker, entry.call.model)
        elif entry.call.prefixes:
            self._force.affinity.note(worker.number, entry.call.prefixes)
        self._force.rank(worker)

    def _take_from(self, entry: Entry) -> None:
        """The opposite, but for the credit."""
        if entry.worker is None:
            raise ValueError(f"ticket {entry.ticket} is with no worker")
        worker = self._force.workers[entry.worker]
        del worker.entries[entry.ticket]
        worker.suspects -= entry.line.lane.alone
        if entry.line.lane.alone or worker.health.probing:
            self._force.rank(worker)
