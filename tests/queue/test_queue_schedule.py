"""The schedule against a random stream of everything that can happen to it."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from headrace_api.load import Starting
from headrace_queue.schedule import Schedule

MODELS = ("a", "b", "seed-c")
LOADING = Starting(state="loading")


class ScheduleMachine(RuleBasedStateMachine):
    """Keeps its own simple book of every ticket and credit, and compares."""

    def __init__(self) -> None:
        super().__init__()
        self.schedule = Schedule(["seed-*"])
        self.numbers = iter(range(1, 10**6))
        self.waiting: dict[int, str] = {}
        self.running: dict[int, tuple[str, int]] = {}
        self.workers: dict[int, frozenset[str] | None] = {}
        self.draining: set[int] = set()
        self.starting: set[int] = set()
        self.credits: dict[int, int] = {}

    def decide(self, models: frozenset[str] | None) -> None:
        for ticket, worker in self.schedule.decide(models):
            model = self.waiting.pop(ticket)
            assert all(other > ticket for other, name in self.waiting.items() if name == model), (
                "not first in first out"
            )
            assert worker not in self.draining | self.starting
            serves = self.workers[worker]
            peers = self.dedicated(model)
            if serves is None:
                assert model.startswith("seed-")
                assert not peers, "a generalist took a dedicated model"
            else:
                assert model in serves
                assert self.credits[worker] == max(peers.values()), "not the worker with the most credits"
            self.credits[worker] -= 1
            self.running[ticket] = (model, worker)

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
            self.decide(self.schedule.models_of(worker))

    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        if self.workers:
            worker = data.draw(st.sampled_from(sorted(self.workers)))
            self.schedule.remove(worker)
            self.draining.discard(worker)
            self.starting.discard(worker)
            del self.workers[worker], self.credits[worker]
            for ticket, (model, holder) in list(self.running.items()):
                if holder == worker:
                    del self.running[ticket]
                    self.waiting[ticket] = model
            self.decide(None)

    @rule(data=st.data())
    def drain(self, data: st.DataObject) -> None:
        if self.workers:
            worker = data.draw(st.sampled_from(sorted(self.workers)))
            self.schedule.drain(worker)
            self.draining.add(worker)
            self.credits[worker] = 0
            self.decide(None)

    @rule(model=st.sampled_from(MODELS))
    def arrive(self, model: str) -> None:
        ticket = next(self.numbers)
        fits = self.schedule.free(model)
        self.schedule.enqueue(ticket, model)
        self.waiting[ticket] = model
        self.decide(frozenset([model]))
        assert fits == (ticket in self.running)

    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        if tickets := sorted({*self.waiting, *self.running}):
            ticket = data.draw(st.sampled_from(tickets))
            self.schedule.withdraw(ticket)
            self.waiting.pop(ticket, None)
            self.running.pop(ticket, None)

    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        if self.running:
            ticket = data.draw(st.sampled_from(sorted(self.running)))
            self.schedule.give_back(ticket)
            model, _ = self.running.pop(ticket)
            self.waiting[ticket] = model
            self.decide(frozenset([model]))

    @invariant()
    def nothing_is_lost_or_doubled(self) -> None:
        assert self.schedule.waiting == len(self.waiting)
        assert self.schedule.running == len(self.running)
        load = self.schedule.load(MODELS)
        for model in MODELS:
            assert load[model].queued == list(self.waiting.values()).count(model)
            assert load[model].workers == len(self.dedicated(model))
            here = {w for w, names in self.workers.items() if model in (names or ()) and w not in self.draining}
            assert load[model].starting == {str(w): LOADING for w in here & self.starting}
            assert self.schedule.has_dedicated(model) == bool(here)
            assert load[model].running == [name for name, _ in self.running.values()].count(model)

    @invariant()
    def no_worker_has_more_than_it_takes(self) -> None:
        assert all(number >= 0 for number in self.credits.values())

    @invariant()
    def nothing_waits_that_could_run(self) -> None:
        assert list(self.schedule.decide()) == []
        for model in set(self.waiting.values()):
            takers = self.dedicated(model) or (self.generalists() if model.startswith("seed-") else {})
            assert not any(takers.values())


TestSchedule = ScheduleMachine.TestCase
TestSchedule.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
