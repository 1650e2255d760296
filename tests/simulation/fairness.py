"""Whether keys share as is promised: each decision of the schedule, held against what each key has got so far."""

import inspect
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from headrace_api.wire import Usage
from headrace_queue.exchange import Call
from headrace_queue.schedule import Schedule, work
from headrace_queue.schedule.shares import Entry, Shares
from headrace_queue.schedule.worker import Worker

_ROUNDING = 1e-6


@dataclass(eq=False)
class _Account:
    """What one key has got of one model, by its weight."""

    key: str
    got: float = 0.0
    ahead: float = 0.0
    """What it may have got more than others when its turn came last: that request, as it turned out or will."""
    back: float = 0.0
    """What it was charged too much, and got back, since it began to wait."""
    waiting: Counter[int] = field(default_factory=Counter)
    """Its requests that wait, by priority."""
    ceilings: dict[tuple[int, "_Account"], float] = field(default_factory=dict)
    """How much more it may have got than another key when its turn comes, while both wait with one priority."""

    def change(self, by: float) -> None:
        self.got += by
        self.ahead += max(by, 0.0)
        self.back += max(-by, 0.0)

    def meet(self, other: "_Account", priority: int) -> None:
        """Both wait from now on: whoever has just got more lets the other one go first until they are level."""
        self.ceilings[priority, other] = self.got - other.got + other.ahead + self.back


def watched(ageing_s: float) -> tuple[Schedule, list[str]]:
    """A schedule, and what it does that is not fair; of a compiled one, which lets nobody look, that is not told."""
    if not inspect.isfunction(Schedule.enqueue):
        return Schedule(ageing_s=ageing_s), []
    schedule = FairSchedule(ageing_s)
    return schedule, schedule.wrong


class FairSchedule(Schedule):
    """The real schedule; what it hands out must be whose turn it is."""

    def __init__(self, ageing_s: float) -> None:
        super().__init__(ageing_s=ageing_s)
        self.wrong: list[str] = []
        self._ageing_s = ageing_s
        self._accounts: defaultdict[Shares, dict[str, _Account]] = defaultdict(dict)
        self._charged: dict[int, float] = {}
        self._waits: set[int] = set()

    def enqueue(self, ticket: int, call: Call, now: float = 0.0) -> None:
        super().enqueue(ticket, call, now)
        self._begin(ticket)

    def place(self, ticket: int, call: Call, now: float = 0.0) -> Iterable[tuple[int, int]]:
        decisions = super().place(ticket, call, now)
        self._begin(ticket)
        return decisions

    def give_back(self, ticket: int) -> None:
        super().give_back(ticket)
        account = self._account(self._demands.entries[ticket])
        if not account.waiting:
            account.back = 0.0
        account.change(-self._charged.pop(ticket))
        self._begin(ticket, returned=True)

    def settle_late(self, entry: Entry, usage: Usage) -> None:
        super().settle_late(entry, usage)
        charge = work.known(usage) / entry.call.weight
        self._account(entry).change(charge - self._charged[entry.ticket])
        self._charged[entry.ticket] = charge

    def withdraw(self, ticket: int) -> Entry:
        entry = super().withdraw(ticket)
        self._end(entry)
        return entry

    def _hand_out(self, entry: Entry, worker: Worker) -> None:
        self._judge(entry, worker)
        super()._hand_out(entry, worker)
        self._end(entry)
        account, charge = self._account(entry), entry.work / entry.call.weight
        account.ahead = 0.0
        account.change(charge)
        self._charged[entry.ticket] = charge

    # ---- what must be true

    def _judge(self, entry: Entry, worker: Worker) -> None:
        """No other key that this worker could serve has got less, and no other priority has waited for longer."""
        account, priorities = self._account(entry), set()
        for other in self._demands.entries.values():
            if other.worker is not None or other is entry or other.demand.shares is not entry.demand.shares:
                continue
            if not worker.serves(other.line.lane):
                continue
            if other.line.priority != entry.line.priority:
                priorities.add(other.line.priority)
            elif other.flow is not entry.flow:
                theirs = self._account(other)
                more, most = account.got - theirs.got, account.ceilings.get((entry.line.priority, theirs), 0.0)
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
        return entry.line.priority * self._ageing_s - entry.since, -entry.ticket

    # ---- accounts

    def _account(self, entry: Entry) -> _Account:
        accounts, key = self._accounts[entry.demand.shares], entry.call.key
        return accounts.get(key) or accounts.setdefault(key, _Account(key))

    def _begin(self, ticket: int, *, returned: bool = False) -> None:
        entry = self._demands.entries[ticket]
        if entry.worker is not None:
            return
        self._waits.add(ticket)
        account, priority = self._account(entry), entry.line.priority
        if not (account.waiting or returned):
            account.back = 0.0
        if not account.waiting[priority]:
            for other in self._accounts[entry.demand.shares].values():
                if other is not account and other.waiting[priority]:
                    account.meet(other, priority)
                    other.meet(account, priority)
        account.waiting[priority] += 1

    def _end(self, entry: Entry) -> None:
        if entry.ticket in self._waits:
            self._waits.remove(entry.ticket)
            waiting = self._account(entry).waiting
            waiting[entry.line.priority] -= 1
            waiting += Counter()  # without those that are none
