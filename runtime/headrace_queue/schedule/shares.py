"""Which of a model's waiting requests is next: weighted fair shares between keys, priorities, and ageing.

**Shares.** Every key has a counter of the work that it was given, divided by its weight; the next request is one of the
key with the least. A key that begins to wait starts no lower than the counter of the key served last, so nobody saves
up rights while asking for nothing; once nothing waits, all are quits. This is start-time fair queueing (Goyal, Vin and
Cheng, 1996) in the form of virtual token counters (Sheng et al., Fairness in Serving Large Language Models, OSDI 2024):
work is estimated when it is handed out and corrected when it is known. What two keys that both wait have got, by
weight, differs by no more than one of the largest requests of each.

**Priorities.** Among priorities the highest goes first, but each `ageing_s` seconds of waiting count as one priority
more, so the lowest is served, too.

A ticket that comes back is not charged for, so its key stands where it stood; within a key the oldest goes first.

A model and its adapters share one `Shares`, since they share workers. What only some workers can take (a model's
adapter, tags, a quarantine) waits in a `Lane` of its own, so that it never stands in the way of others.
"""

from collections.abc import Collection, Hashable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from headrace_queue.exchange import Call
from headrace_queue.schedule.ranking import Ranking

if TYPE_CHECKING:
    from headrace_queue.schedule.demand import Demand

_T = TypeVar("_T", bound=Hashable)
_MANY_FLOWS = 1024
_MANY_LINES = 1024


class Lane(NamedTuple):
    """What a worker must be to take a request."""

    model: str
    needs: frozenset[str] = frozenset()
    """What it must offer, see `headrace_queue.needs`."""
    alone: bool = False
    """Whether the request is suspected of killing engines: it must be the only such one that the worker has."""


class Line(NamedTuple):
    """What waits in one lane with one priority."""

    lane: Lane
    priority: int


@lru_cache(_MANY_LINES)
def line_of(model: str, needs: frozenset[str], priority: int) -> Line:
    """Where a request waits that is under no suspicion: for most the same, so that it is rarely made anew."""
    return Line(Lane(model, needs), priority)


@dataclass(slots=True, eq=False)
class Flow:
    """What one key has of a model."""

    key: str
    counter: float
    """The work that it was given, by weight."""
    running: int = 0
    waiting: "dict[Line, Ranking[Entry]]" = field(default_factory=dict)


class Entry:
    """A request that the schedule knows."""

    __slots__ = ("avoid", "call", "charged", "demand", "flow", "line", "since", "ticket", "work", "worker")

    def __init__(  # noqa: PLR0913, PLR0917 - what is known of it; one is made for each request, see decision 28
        self, ticket: int, call: Call, since: float, work: float, demand: "Demand", flow: Flow, line: Line
    ) -> None:
        self.ticket = ticket
        self.call = call
        self.since = since
        """When it came."""
        self.work = work
        """How much it asks for, estimated; in tokens, see `headrace_queue.schedule.work`."""
        self.demand = demand
        self.flow = flow
        self.line = line
        self.charged = 0.0
        """What its flow's counter was raised by for it."""
        self.worker: int | None = None
        self.avoid: tuple[int, ...] = ()
        """Workers that have failed it."""


class Shares:
    """The requests for one model and its adapters."""

    def __init__(self, name: str, ageing_s: float) -> None:
        self.name = name
        self.waiting = 0
        self.running = 0
        self._ageing_s = ageing_s
        self._floor = 0.0
        """Where a flow begins: the counter of the one served last, and once nothing waits, the highest of all."""
        self._top = 0.0
        self._flows: dict[str, Flow] = {}
        self._sweep_at = _MANY_FLOWS
        self.lines: dict[Line, Ranking[Flow]] = {}
        """Those with something in them: the flows that wait, by counter and oldest ticket."""

    def flow(self, key: str) -> Flow:
        """A key's; one that has not waited stands no lower than the one served last."""
        flow = self._flows.get(key)
        if flow is None:
            if len(self._flows) >= self._sweep_at:
                self._sweep()
            flow = self._flows[key] = Flow(key, self._floor)
        elif not flow.waiting and flow.counter < self._floor:
            flow.counter = self._floor
        return flow

    def push(self, entry: Entry) -> None:
        """It waits."""
        line, flow = entry.line, entry.flow
        tickets = flow.waiting.get(line)
        if tickets is None:
            tickets = flow.waiting[line] = Ranking()
        tickets.put(entry, entry.ticket)
        self.waiting += 1
        flows = self.lines.get(line)
        if flows is None:
            flows = self.lines[line] = Ranking()
        flows.put(flow, (flow.counter, _first(tickets).ticket))

    def drop(self, entry: Entry) -> None:
        """It waits no longer."""
        line, flow = entry.line, entry.flow
        tickets = flow.waiting[line]
        tickets.drop(entry)
        self.waiting -= 1
        if not self.waiting:
            self._floor = self._top
        if tickets:
            self.lines[line].put(flow, (flow.counter, _first(tickets).ticket))
            return
        del flow.waiting[line]
        self.lines[line].drop(flow)
        if not self.lines[line]:
            del self.lines[line]

    def move(self, entry: Entry, line: Line) -> None:
        """It waits in another line."""
        floor = self._floor
        self.drop(entry)
        self._floor = floor  # something has waited all along
        entry.line = line
        self.push(entry)

    def serve(self, entry: Entry) -> None:
        """A worker gets it; it has never waited, or does no longer."""
        flow = entry.flow
        self._floor = max(self._floor, flow.counter) if self.waiting else self._top
        entry.charged = entry.work / entry.call.weight
        self._charge(flow, entry.charged)
        flow.running += 1
        self.running += 1

    def give_back(self, entry: Entry) -> None:
        """It waits again, as if it had never been served."""
        self.end(entry)
        self._charge(entry.flow, -entry.charged)
        self.push(entry)

    def end(self, entry: Entry) -> None:
        """A worker has it no longer."""
        entry.flow.running -= 1
        self.running -= 1

    def correct(self, entry: Entry, work: float) -> None:
        """What it was really, of one that a worker has or, when it was withdrawn, had."""
        charged = work / entry.call.weight
        self._charge(entry.flow, charged - entry.charged)
        entry.charged = charged

    def head(self, closed: Collection[Lane] = (), only: Lane | None = None) -> Entry | None:
        """What is next, but for the lanes that are closed, or of one lane only; None if there is nothing."""
        heads: dict[int, tuple[tuple[float, int], Entry]] = {}
        for line, flows in self.lines.items():
            if (closed and line.lane in closed) or (only is not None and line.lane != only):
                continue
            flow = _first(flows)
            rank = flows.rank(flow)
            if line.priority not in heads or rank < heads[line.priority][0]:
                heads[line.priority] = rank, _first(flow.waiting[line])
        found = [entry for _, entry in heads.values()]
        if len(found) > 1:
            return max(found, key=self.urgency)
        return found[0] if found else None

    def urgency(self, entry: Entry) -> tuple[float, int]:
        """Of those that are next of their priorities, the one with the greatest goes first."""
        # As all become older at the same pace, who is before whom never changes: the time of day is of no account.
        return entry.line.priority * self._ageing_s - entry.since, -entry.ticket

    def _charge(self, flow: Flow, charge: float) -> None:
        flow.counter += charge
        self._top = max(self._top, flow.counter)
        for line, tickets in flow.waiting.items():
            self.lines[line].put(flow, (flow.counter, _first(tickets).ticket))

    def _sweep(self) -> None:
        """Forget the keys that have nothing here, and no more than they would begin with."""
        for key, flow in list(self._flows.items()):
            if not flow.waiting and not flow.running and flow.counter <= self._floor:
                del self._flows[key]
        self._sweep_at = max(_MANY_FLOWS, 2 * len(self._flows))


def _first(ranking: "Ranking[_T]") -> _T:
    item = ranking.first()
    if item is None:
        raise LookupError("an empty ranking is not kept")
    return item
