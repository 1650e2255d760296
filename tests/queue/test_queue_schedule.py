"""The schedule against a random stream of everything that can happen to it."""

from collections.abc import Iterable
from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.simulation.fairness import watched

from headrace_api.load import Starting
from headrace_api.wire import Usage
from headrace_queue.exchange import Call
from headrace_queue.schedule.core import _AVOIDED

MODELS = ("a", "b", "seed-c")
LOADING = Starting(state="loading")


AGEING = 10
WEIGHTS = {"k1": 1.0, "k2": 0.5, "k3": 3.0}


@dataclass
class Ticket:
    call: Call
    worker: int | None = None
    avoid: tuple[int, ...] = ()
    """Workers that it has come back from."""

    @property
    def model(self) -> str:
        return self.call.model


class ScheduleMachine(RuleBasedStateMachine):
    """Keeps its own simple book of every ticket and credit, and compares."""

    def __init__(self) -> None:
        super().__init__()
        self.schedule, self.unfair = watched(AGEING, ["seed-*"])
        self.now = 0.0
        self.numbers = iter(range(1, 10**6))
        self.tickets: dict[int, Ticket] = {}
        self.workers: dict[int, frozenset[str] | None] = {}
        self.draining: set[int] = set()
        self.starting: set[int] = set()
        self.credits: dict[int, int] = {}

    def waiting(self, model: str) -> dict[int, Ticket]:
        return {n: one for n, one in self.tickets.items() if one.model == model and one.worker is None}

    def running(self, model: str) -> dict[int, Ticket]:
        return {n: one for n, one in self.tickets.items() if one.model == model and one.worker is not None}

    def first_of(self, call: Call) -> int:
        waiting = self.waiting(call.model).items()
        return min(n for n, one in waiting if (one.call.key, one.call.priority) == (call.key, call.priority))

    def follow(self, decisions: Iterable[tuple[int, int]]) -> None:
        for ticket, worker in decisions:
            one = self.tickets[ticket]
            model = one.model
            assert ticket == self.first_of(one.call), "not the oldest of its key and priority"
            assert worker not in self.draining | self.starting
            serves = self.workers[worker]
            peers = self.dedicated(model)
            if serves is None:
                assert model.startswith("seed-")
                assert not peers, "a generalist took a dedicated model"
            else:
                assert model in serves
                others = {number: has for number, has in peers.items() if has and number not in one.avoid}
                assert self.credits[worker] == max((others or peers).values()), "not the worker with the most credits"
                assert worker in (others or peers)
            self.credits[worker] -= 1
            one.worker = worker

    def decide(self, models: frozenset[str] | None) -> None:
        self.follow(self.schedule.decide(models))

    def take_back(self, ticket: int) -> None:
        one = self.tickets[ticket]
        if one.worker is not None:
            one.avoid = (*one.avoid[-_AVOIDED:], one.worker)
        one.worker = None

    def dedicated(self, model: str) -> dict[int, int]:
        """The credits of the workers that this model has for itself."""
        away = self.draining | self.starting
        return {w: c for w, c in self.credits.items() if model in (self.workers[w] or ()) and w not in away}

    def generalists(self) -> dict[int, int]:
        away = self.draining | self.starting
        return {w: c for w, c in self.credits.items() if self.workers[w] is None and w not in away}

    @rule(models=st.none() | st.frozensets(st.sampled_from(MODELS), min_size=1), starting=st.booleans())
    def join(self, models: frozenset[str] | None, starting: bool) -> None:
        worker = next(self.numbers)
        self.workers[worker], self.credits[worker] = models, 0
        if starting:
            self.starting.add(worker)
        self.schedule.add(worker, models, str(worker), LOADING if starting else None)

    @rule(data=st.data(), starting=st.booleans())
    def report(self, data: st.DataObject, starting: bool) -> None:
        if self.workers:
            worker = data.draw(st.sampled_from(sorted(self.workers)))
            if starting != (worker in self.starting):
                self.starting ^= {worker}
            self.schedule.report(worker, LOADING if starting else None)
            self.decide(None)

    @rule(data=st.data(), models=st.frozensets(st.sampled_from(MODELS), min_size=1))
    def replace_models(self, data: st.DataObject, models: frozenset[str]) -> None:
        if dedicated := sorted(worker for worker, names in self.workers.items() if names is not None):
            worker = data.draw(st.sampled_from(dedicated))
            self.workers[worker] = models
            self.schedule.replace_models(worker, models)
            self.decide(None)

    @rule(data=st.data(), number=st.integers(1, 4))
    def grant(self, data: st.DataObject, number: int) -> None:
        if self.workers:
            worker = data.draw(st.sampled_from(sorted(self.workers)))
            self.schedule.grant(worker, number)
            if worker not in self.draining:
                self.starting.discard(worker)
                self.credits[worker] += number
            self.follow(self.schedule.decide_for(worker))

    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        if self.workers:
            worker = data.draw(st.sampled_from(sorted(self.workers)))
            self.schedule.remove(worker)
            self.draining.discard(worker)
            self.starting.discard(worker)
            del self.workers[worker], self.credits[worker]
            for ticket, one in self.tickets.items():
                if one.worker == worker:
                    self.take_back(ticket)
            self.decide(None)

    @rule(data=st.data())
    def drain(self, data: st.DataObject) -> None:
        if self.workers:
            worker = data.draw(st.sampled_from(sorted(self.workers)))
            self.schedule.drain(worker)
            self.draining.add(worker)
            self.credits[worker] = 0
            self.decide(None)

    @rule(seconds=st.sampled_from([0.1, 3.0, 25.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(
        model=st.sampled_from(MODELS),
        key=st.sampled_from(sorted(WEIGHTS)),
        priority=st.sampled_from([0, 0, 0, 1, -2]),
        size=st.sampled_from([10, 1000, 10_000]),
        waits=st.booleans(),
    )
    def arrive(self, model: str, key: str, priority: int, size: int, waits: bool) -> None:
        ticket = next(self.numbers)
        call = Call(str(ticket), model, "", b"x" * size, key=key, weight=WEIGHTS[key], priority=priority)
        fits = self.schedule.free(model)
        decisions = self.schedule.place(ticket, call, self.now) if not waits else ()
        if waits:
            self.schedule.enqueue(ticket, call, self.now)
        self.tickets[ticket] = Ticket(call)
        self.follow(decisions)
        self.decide(frozenset([model]))
        assert fits == (self.tickets[ticket].worker is not None)

    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        if self.tickets:
            ticket = data.draw(st.sampled_from(sorted(self.tickets)))
            self.schedule.withdraw(ticket)
            del self.tickets[ticket]

    @rule(data=st.data(), tokens=st.sampled_from([1, 100, 5000]))
    def answer(self, data: st.DataObject, tokens: int) -> None:
        if running := [ticket for ticket, one in self.tickets.items() if one.worker is not None]:
            ticket = data.draw(st.sampled_from(running))
            self.schedule.settle(ticket, Usage(prompt_tokens=50, cached_tokens=10, completion_tokens=tokens))
            self.schedule.withdraw(ticket)
            del self.tickets[ticket]

    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        if running := [ticket for ticket, one in self.tickets.items() if one.worker is not None]:
            ticket = data.draw(st.sampled_from(running))
            self.schedule.give_back(ticket)
            self.take_back(ticket)
            self.decide(frozenset([self.tickets[ticket].model]))

    @invariant()
    def nothing_is_lost_or_doubled(self) -> None:
        assert self.schedule.waiting == sum(len(self.waiting(model)) for model in MODELS)
        assert self.schedule.running == sum(len(self.running(model)) for model in MODELS)
        load = self.schedule.load(MODELS)
        for model in MODELS:
            assert load[model].queued == len(self.waiting(model))
            assert load[model].workers == len(self.dedicated(model))
            here = {w for w, names in self.workers.items() if model in (names or ()) and w not in self.draining}
            assert load[model].starting == {str(w): LOADING for w in here & self.starting}
            assert self.schedule.has_dedicated(model) == bool(here)
            assert load[model].running == len(self.running(model))

    @invariant()
    def keys_and_priorities_have_their_turns(self) -> None:
        assert not self.unfair, self.unfair[0]

    @invariant()
    def no_worker_has_more_than_it_takes(self) -> None:
        assert all(number >= 0 for number in self.credits.values())

    @invariant()
    def nothing_waits_that_could_run(self) -> None:
        assert list(self.schedule.decide()) == []
        for model in {one.model for one in self.tickets.values() if one.worker is None}:
            takers = self.dedicated(model) or (self.generalists() if model.startswith("seed-") else {})
            assert not any(takers.values())


TestSchedule = ScheduleMachine.TestCase
TestSchedule.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
