"""Whether keys share as is promised: each decision of the schedule, held against what each key has got so far."""

import inspect
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

from headrace_api.wire import Usage
from headrace_queue.exchange import Call
from headrace_queue.schedule import Schedule, work
from headrace_queue.schedule.shares import Entry, Line, Shares
from headrace_queue.schedule.worker import Worker

_ROUNDING = 1e-6


@dataclass(eq=False)
class _Account:
    """What one key has got of one model, by its weight, since something waits in a line and it counts there."""

    key: str
    got: float = 0.0
    ahead: float = 0.0
    """What it may have got more than others since its turn came last: that request, as it turned out or will, and what
    it got from other lines."""
    back: float = 0.0
    """What it was charged too much, and got back, since it began to wait."""
    waiting: int = 0
    stint: int = 0
    """How often it has begun to wait."""
    served: float = -inf
    """When the latest request had come when it got something last, where it has waited all the time since."""
    ceilings: dict["_Account", float] = field(default_factory=dict)
    """How much more it may have got than another key when its turn comes, while both wait."""

    def change(self, by: float) -> None:
        self.got += by
        self.ahead += max(by, 0.0)
        self.back += max(-by, 0.0)

    def meet(self, other: "_Account") -> None:
        """Both wait from now on: whoever has just got more lets the other one go first until they are level."""
        self.ceilings[other] = self.got - other.got + other.ahead + self.back


class _Charge(NamedTuple):
    """What a request counts for, and in which lines: its own, and those in which its key has waited ever since."""

    size: float
    own: _Account | None
    others: list[tuple[_Account, int]]

    def become(self, size: float) -> "_Charge":
        """It counts for so much instead."""
        accounts = [account for account, stint in self.others if account.stint == stint and account.waiting]
        for account in [self.own, *accounts] if self.own else accounts:
            account.change(size - self.size)
        return self._replace(size=size)


def watched(ageing_s: float, generalist_patterns: Sequence[str] = ("*",)) -> tuple[Schedule, list[str]]:
    """A schedule, and what it does that is not fair; of a compiled one, which lets nobody look, that is not told."""
    if not inspect.isfunction(Schedule.enqueue):
        return Schedule(generalist_patterns, ageing_s), []
    schedule = FairSchedule(generalist_patterns, ageing_s)
    return schedule, schedule.wrong


class FairSchedule(Schedule):
    """The real schedule; what it hands out must be whose turn it is."""

    def __init__(self, generalist_patterns: Sequence[str], ageing_s: float) -> None:
        super().__init__(generalist_patterns, ageing_s)
        self.wrong: list[str] = []
        self._ageing_s = ageing_s
        self._lines: defaultdict[Line, dict[str, _Account]] = defaultdict(dict)
        """Those in which something waits."""
        self._charged: dict[int, _Charge] = {}
        self._waits: dict[int, Line] = {}
        self._latest: defaultdict[Shares, float] = defaultdict(float)

    def enqueue(self, ticket: int, call: Call, now: float = 0.0) -> None:
        super().enqueue(ticket, call, now)
        self._begin(ticket)

    def place(self, ticket: int, call: Call, now: float = 0.0) -> Iterable[tuple[int, int]]:
        decisions = super().place(ticket, call, now)
        self._begin(ticket)
        return decisions

    def isolate(self, ticket: int) -> None:
        super().isolate(ticket)
        self._move(ticket)

    def require(self, ticket: int, needs: frozenset[str]) -> None:
        super().require(ticket, needs)
        self._move(ticket)

    def give_back(self, ticket: int) -> None:
        super().give_back(ticket)
        self._charged.pop(ticket).become(0.0)
        self._begin(ticket, returned=True)

    def settle_late(self, entry: Entry, usage: Usage) -> None:
        super().settle_late(entry, usage)
        self._charged[entry.ticket] = self._charged[entry.ticket].become(work.known(usage) / entry.call.weight)

    def withdraw(self, ticket: int) -> Entry:
        entry = super().withdraw(ticket)
        self._end(entry)
        return entry

    def _hand_out(self, entry: Entry, worker: Worker) -> None:
        if entry.ticket in self._waits:
            self._judge(entry, worker)
        super()._hand_out(entry, worker)
        self._end(entry)
        key, shares = entry.call.key, entry.demand.shares
        own = self._account(entry) if entry.line in self._lines else None
        if own:
            own.ahead = 0.0
            own.served = self._latest[shares] if own.waiting else -inf
        elsewhere = [
            (accounts[key], accounts[key].stint)
            for line, accounts in self._lines.items()
            if line != entry.line and key in accounts and accounts[key].waiting and self._shares_of(line) is shares
        ]
        self._charged[entry.ticket] = _Charge(0.0, own, elsewhere).become(entry.work / entry.call.weight)

    # ---- what must be true

    def _judge(self, entry: Entry, worker: Worker) -> None:
        """No other key in its line has got less, and no other priority of this worker's has waited for longer."""
        account, priorities = self._account(entry), set()
        for other in self._demands.entries.values():
            if other.worker is not None or other is entry or other.demand.shares is not entry.demand.shares:
                continue
            if not worker.serves(other.line.lane):
                continue
            if other.line.priority != entry.line.priority:
                priorities.add(other.line.priority)
            elif other.line == entry.line and other.flow is not entry.flow:
                theirs = self._account(other)
                more, most = account.got - theirs.got, account.ceilings.get(theirs, 0.0)
                if more > most + _ROUNDING:
                    self.wrong.append(
                        f"{account.key} gets {entry.call.request_id} having got {more:.1f} more than {theirs.key}, "
                        f"whose {other.call.request_id} waits: {most:.1f} is the most"
                    )
        for priority in priorities:
            if all(self._urgency(each) > self._urgency(entry) for each in self._waiting(entry.demand.shares, priority)):
                self.wrong.append(f"{entry.call.request_id} goes before all of priority {priority}")

    def _waiting(self, shares: Shares, priority: int) -> Iterator[Entry]:
        for entry in self._demands.entries.values():
            if entry.worker is None and entry.demand.shares is shares and entry.line.priority == priority:
                yield entry

    def _urgency(self, entry: Entry) -> tuple[float, int]:
        """Priority times ageing time, minus when it came or its key got something from its line."""
        since = max(entry.since, self._account(entry).served)
        return entry.line.priority * self._ageing_s - since, -entry.ticket

    # ---- accounts

    def _account(self, entry: Entry) -> _Account:
        return self._lines[entry.line].setdefault(entry.call.key, _Account(entry.call.key))

    def _shares_of(self, line: Line) -> Shares:
        return self._demands.models[line.lane.model].shares

    def _begin(self, ticket: int, *, returned: bool = False) -> None:
        entry = self._demands.entries[ticket]
        shares = entry.demand.shares
        self._latest[shares] = max(self._latest[shares], entry.since)
        if entry.worker is not None:
            return
        self._waits[ticket] = entry.line
        account = self._account(entry)
        if not account.waiting:
            account.stint += 1
            account.back = account.back if returned else 0.0
            for other in self._lines[entry.line].values():
                if other is not account and other.waiting:
                    account.meet(other)
                    other.meet(account)
        account.waiting += 1

    def _move(self, ticket: int) -> None:
        entry = self._demands.entries[ticket]
        if entry.line != self._waits[ticket]:
            self._end(entry)
            self._begin(ticket, returned=True)

    def _end(self, entry: Entry) -> None:
        line = self._waits.pop(entry.ticket, None)
        if line is not None:
            account = self._lines[line][entry.call.key]
            account.waiting -= 1
            if not account.waiting:
                account.served = -inf
            if not any(each.waiting for each in self._lines[line].values()):
                del self._lines[line]
