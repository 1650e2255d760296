"""Which of a model's waiting requests is next: weighted fair shares between keys, priorities, and ageing.

**Shares.** Every key has a counter of the work that it was given, divided by its weight; the next request is one of the
key with the least. A key that begins to wait starts no lower than the counter of the key served last, so nobody saves
up rights while asking for nothing; once nothing waits, all are quits. This is start-time fair queueing (Goyal, Vin and
Cheng, 1996) in the form of virtual token counters (Sheng et al., Fairness in Serving Large Language Models, OSDI 2024):
work is estimated when it is handed out and corrected when it is known.

**Lines.** A model and its adapters share one `Shares`, since they share workers. What only some workers can take (a
model's adapter, tags, a quarantine) waits in a `Lane` of its own, so that it never stands in the way of others, and
each priority of a lane is a `Line`. Workers or higher priorities may pass a line over for long, so each is a fair queue
of its own: a key has a rank there, which begins where the one stood that was served last from there, and which is
raised by all that the key is given while it waits, from whatever line. So what two keys that both wait in a line are
given from then on, by weight, differs by no more than one of the largest requests of each, and nobody gets more by
waiting in many. Among lines of one priority the first key of each is compared; it stands no lower than where it began
among all.

**Priorities.** Among priorities the highest goes first, but each `ageing_s` seconds in which a key was given nothing
from a line count there as one priority more, so the lowest is served, too, and a flood of a low one has no more of
that than one request has.

A ticket that comes back is not charged for, so its key stands where it stood; within a key the oldest goes first.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from functools import lru_cache
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from headrace_queue.exchange import Call
from headrace_queue.schedule.ranking import Ranking, first

if TYPE_CHECKING:
    from headrace_queue.schedule.demand import Demand

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
class Backlog:
    """What one key has waiting in a line."""

    rank: float
    begun: float
    """Where the key stood among all when it began to wait there."""
    turn: int
    """How many turns there had been then: only what was given later counts."""
    tickets: "Ranking[Entry]" = field(default_factory=Ranking)
    served: float = -inf
    """When something was last given to the key from here: the time at which the latest request had come by then."""


@dataclass(slots=True, eq=False)
class Flow:
    """What one key has of a model."""

    key: str
    counter: float
    """The work that it was given, by weight."""
    running: int = 0
    waiting: dict[Line, Backlog] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Turns:
    """Whose turn it is in a line in which something waits."""

    clock: float
    """The rank of the one served last, or where the line began."""
    turn: int
    """As of `Backlog`, when the line began."""
    flows: Ranking[Flow] = field(default_factory=Ranking)
    """Those that wait, by rank and oldest ticket."""
    left: dict[Flow, float] = field(default_factory=dict)
    """The ranks of those that do not wait any more."""
    sweep_at: int = _MANY_FLOWS


class Entry:
    """A request that the schedule knows."""

    __slots__ = (
        "avoid", "begun", "call", "charged", "demand", "flow", "line", "rank", "since", "ticket", "turn", "work",
        "worker",
    )  # fmt: skip

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
        self.rank = 0.0
        self.begun = 0.0
        """Both as of its `Backlog`, of one that waits no longer."""
        self.turn = 0
        """The how manyth it was that a worker got."""
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
        """The clock of all lines, where a flow begins: the counter of the one served last, and once nothing waits, the
        highest of all."""
        self._latest = 0.0
        """When the latest request came."""
        self._turn = 0
        """How often a worker has got something."""
        self._top = 0.0
        self._flows: dict[str, Flow] = {}
        self._sweep_at = _MANY_FLOWS
        self.lines: dict[Line, Turns] = {}
        """Those with something in them."""

    def flow(self, key: str, now: float) -> Flow:
        """A key's, of which a request comes; one that has not waited stands no lower than the one served last."""
        self._latest = now
        flow = self._flows.get(key)
        if flow is None:
            if len(self._flows) >= self._sweep_at:
                self._sweep()
            flow = self._flows[key] = Flow(key, self._floor)
        elif not flow.waiting and flow.counter < self._floor:
            flow.counter = self._floor
        return flow

    def push(self, entry: Entry) -> None:
        """It waits from now on."""
        flow = entry.flow
        if entry.line not in flow.waiting:
            flow.counter = max(flow.counter, self._floor)
            entry.begun = flow.counter
            self._catch_up(entry)
        self._put(entry)

    def drop(self, entry: Entry) -> None:
        """It waits no longer."""
        line, flow = entry.line, entry.flow
        backlog, turns = flow.waiting[line], self.lines[line]
        backlog.tickets.drop(entry)
        entry.rank, entry.begun = backlog.rank, backlog.begun
        self.waiting -= 1
        if not self.waiting:
            self._floor = self._top
        if backlog.tickets:
            _rank(turns, flow, backlog)
            return
        del flow.waiting[line]
        turns.flows.drop(flow)
        turns.left[flow] = backlog.rank
        if not turns.flows:
            del self.lines[line]
        elif len(turns.left) >= turns.sweep_at:
            turns.left = {flow: rank for flow, rank in turns.left.items() if rank > turns.clock}
            turns.sweep_at = max(_MANY_FLOWS, 2 * len(turns.left))

    def move(self, entry: Entry, line: Line) -> None:
        """It waits in another line."""
        floor = self._floor
        self.drop(entry)
        self._floor = floor  # something has waited all along
        entry.line = line
        self._catch_up(entry)
        self._put(entry)

    def serve(self, entry: Entry) -> None:
        """A worker gets it; it has never waited, or does no longer."""
        flow = entry.flow
        if not self.waiting:
            self._floor = self._top
        else:
            self._pass(entry)
        entry.turn = self._turn = self._turn + 1
        entry.charged = entry.work / entry.call.weight
        self._charge(entry, entry.charged)
        flow.running += 1
        self.running += 1

    def give_back(self, entry: Entry) -> None:
        """It waits again, as if it had never been served."""
        self.end(entry)
        self._catch_up(entry)
        self._charge(entry, -entry.charged)
        self._put(entry)

    def end(self, entry: Entry) -> None:
        """A worker has it no longer."""
        entry.flow.running -= 1
        self.running -= 1

    def correct(self, entry: Entry, work: float) -> None:
        """What it was really, of one that a worker has or, when it was withdrawn, had."""
        charged = work / entry.call.weight
        self._charge(entry, charged - entry.charged)
        entry.charged = charged

    def head(self, closed: Collection[Lane] = (), only: Lane | None = None) -> Entry | None:
        """What is next, but for the lanes that are closed, or of one lane only; None if there is nothing."""
        heads: dict[int, tuple[tuple[float, int], Entry]] = {}
        for line, turns in self.lines.items():
            if (closed and line.lane in closed) or (only is not None and line.lane != only):
                continue
            flow = first(turns.flows)
            backlog = flow.waiting[line]
            place = max(backlog.rank, backlog.begun), turns.flows.rank(flow)[1]
            if line.priority not in heads or place < heads[line.priority][0]:
                heads[line.priority] = place, first(backlog.tickets)
        found = [entry for _, entry in heads.values()]
        if len(found) > 1:
            return max(found, key=self._urgency)
        return found[0] if found else None

    def urgency(self, entry: Entry, served: float) -> tuple[float, int]:
        """Of those that are next of their priorities, the one with the greatest goes first.

        `served` is that of its `Backlog`.
        """
        # As all become older at the same pace, who is before whom never changes: the time of day is of no account.
        return entry.line.priority * self._ageing_s - max(entry.since, served), -entry.ticket

    def _urgency(self, entry: Entry) -> tuple[float, int]:
        return self.urgency(entry, entry.flow.waiting[entry.line].served)

    @property
    def latest(self) -> float:
        """When the latest request came."""
        return self._latest

    def _catch_up(self, entry: Entry) -> None:
        """If its key waits for nothing else in its line, it stands there no lower than the one served last."""
        turns = self.lines.get(entry.line)
        if turns is not None and turns.left.get(entry.flow, inf) < turns.clock:
            del turns.left[entry.flow]

    def _put(self, entry: Entry) -> None:
        line, flow = entry.line, entry.flow
        turns = self.lines.get(line)
        if turns is None:
            turns = self.lines[line] = Turns(flow.counter, self._turn)
        backlog = flow.waiting.get(line)
        if backlog is None:
            rank = turns.left.pop(flow, turns.clock)
            backlog = flow.waiting[line] = Backlog(rank, entry.begun, self._turn)
        backlog.tickets.put(entry, entry.ticket)
        self.waiting += 1
        _rank(turns, flow, backlog)

    def _pass(self, entry: Entry) -> None:
        """Of those that wait, it is this one's turn: the clocks go on to where it stood."""
        self._floor = max(self._floor, entry.rank, entry.begun)
        if turns := self.lines.get(entry.line):
            turns.clock = max(turns.clock, entry.rank)
        if backlog := entry.flow.waiting.get(entry.line):
            backlog.served = self._latest

    def _charge(self, entry: Entry, charge: float) -> None:
        flow = entry.flow
        flow.counter += charge
        self._top = max(self._top, flow.counter)
        for line, backlog in flow.waiting.items():
            turns = self.lines[line]
            if (turns.turn if line == entry.line else backlog.turn) < entry.turn:
                backlog.rank += charge
                _rank(turns, flow, backlog)
        if entry.line not in flow.waiting:
            self._charge_later(entry, charge)

    def _charge_later(self, entry: Entry, charge: float) -> None:
        """The key has nothing more in its line: for when it has again, if others have kept the line until then."""
        turns = self.lines.get(entry.line)
        if turns is not None and turns.turn < entry.turn:
            turns.left[entry.flow] = turns.left.get(entry.flow, turns.clock) + charge

    def _sweep(self) -> None:
        """Forget the keys that have nothing here, and no more than they would begin with."""
        for key, flow in list(self._flows.items()):
            if not flow.waiting and not flow.running and flow.counter <= self._floor:
                del self._flows[key]
        self._sweep_at = max(_MANY_FLOWS, 2 * len(self._flows))


def _rank(turns: Turns, flow: Flow, backlog: Backlog) -> None:
    turns.flows.put(flow, (backlog.rank, first(backlog.tickets).ticket))
