"""What is asked for: every request that the schedule knows, by ticket and by model."""

from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from headrace_queue.exchange import Call
from headrace_queue.schedule.shares import Entry, Lane, Line, Shares, line_of


@dataclass(slots=True, eq=False)
class Demand:
    """What is asked of one model."""

    model: str
    shares: Shares
    """Also those of its adapters, or of the model whose adapter it is."""
    lanes: dict[Lane, int] = field(default_factory=dict)
    """How many wait in each; those in which any do."""
    waiting: int = 0
    running: int = 0


class Demands:
    """All of them, kept for as long as there is anything to do."""

    def __init__(self, ageing_s: float, for_generalists: Callable[[str], bool]) -> None:
        self.entries: dict[int, Entry] = {}
        self.models: dict[str, Demand] = {}
        self.homeless: OrderedDict[Lane, Demand] = OrderedDict()
        """The lanes that generalists serve, in turn."""
        self.running = 0
        self._ageing_s = ageing_s
        self._for_generalists = for_generalists
        self._shares: dict[str, Shares] = {}

    def enter(self, ticket: int, call: Call, now: float, work: float) -> Entry:
        """A request is there: it is to wait, or to be served."""
        demand = self.models.get(call.model) or self._begin(call)
        line = line_of(call.model, call.needs, call.priority)
        flow = demand.shares.flow(call.key, now)
        self.entries[ticket] = entry = Entry(ticket, call, now, work, demand, flow, line)
        return entry

    def wait(self, entry: Entry) -> None:
        """It waits from now on."""
        self._wait(entry)
        entry.demand.shares.push(entry)

    def wait_no_more(self, entry: Entry) -> None:
        """A worker is going to get it, or its client has left."""
        self._wait_no_more(entry)
        entry.demand.shares.drop(entry)

    def serve(self, entry: Entry, worker: int) -> None:
        """A worker gets it."""
        entry.demand.shares.serve(entry)
        entry.worker = worker
        entry.demand.running += 1
        self.running += 1

    def give_back(self, entry: Entry) -> None:
        """It waits again, where it was."""
        self._run_no_more(entry)
        self._wait(entry)
        entry.demand.shares.give_back(entry)

    def move(self, entry: Entry, lane: Lane) -> None:
        """One that waits does so in another lane."""
        shares = entry.demand.shares
        self._wait_no_more(entry)
        shares.move(entry, Line(lane, entry.line.priority))
        self._wait(entry)

    def leave(self, entry: Entry) -> None:
        """Forget it."""
        del self.entries[entry.ticket]
        demand = entry.demand
        if entry.worker is None:
            self.wait_no_more(entry)
        else:
            demand.shares.end(entry)
            self._run_no_more(entry)
        if not (demand.waiting or demand.running):
            del self.models[demand.model]
            if not (demand.shares.waiting or demand.shares.running):
                del self._shares[demand.shares.name]

    def waiting(self, model: str) -> int:
        """How many requests for `model` wait."""
        demand = self.models.get(model)
        return demand.waiting if demand else 0

    def running_of(self, model: str) -> int:
        """How many requests for `model` workers have."""
        demand = self.models.get(model)
        return demand.running if demand else 0

    def waits(self) -> list[tuple[str, int, int]]:
        """Every model that has requests waiting: its name, how many, and the oldest ticket."""
        number = {name: demand.waiting for name, demand in self.models.items() if demand.waiting}
        oldest: dict[str, int] = {}
        for ticket, entry in self.entries.items() if number else ():  # oldest first: tickets grow
            if entry.worker is None and entry.call.model not in oldest:
                oldest[entry.call.model] = ticket
                if len(oldest) == len(number):
                    break
        return [(name, number[name], ticket) for name, ticket in oldest.items()]

    def reconsider(self, models: Collection[str] | None) -> None:
        """Dedicated workers may have come to serve these models, or none may any more; None for no models."""
        for model in sorted(self.models.keys() & models) if models else ():  # sorted: every run does the same
            demand = self.models[model]
            for lane in demand.lanes:
                self._place(lane, demand)

    def _begin(self, call: Call) -> Demand:
        shares = self._shares.get(call.base)
        if shares is None:
            shares = self._shares[call.base] = Shares(call.base, self._ageing_s)
        demand = self.models[call.model] = Demand(call.model, shares)
        return demand

    def _wait(self, entry: Entry) -> None:
        demand, lane = entry.demand, entry.line.lane
        demand.waiting += 1
        before = demand.lanes.get(lane, 0)
        demand.lanes[lane] = before + 1
        if not before:
            self._place(lane, demand)

    def _wait_no_more(self, entry: Entry) -> None:
        demand, lane = entry.demand, entry.line.lane
        demand.waiting -= 1
        demand.lanes[lane] -= 1
        if not demand.lanes[lane]:
            del demand.lanes[lane]
            self.homeless.pop(lane, None)

    def _run_no_more(self, entry: Entry) -> None:
        entry.worker = None
        entry.demand.running -= 1
        self.running -= 1

    def _place(self, lane: Lane, demand: Demand) -> None:
        if not lane.needs and self._for_generalists(lane.model):
            self.homeless.setdefault(lane, demand)
        else:
            self.homeless.pop(lane, None)
