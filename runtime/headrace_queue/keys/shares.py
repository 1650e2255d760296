"""Divides each key's limits among the replicas of the queue, which share nothing but a table. Pure.

Every replica has a row in the table for each key that it is asked for: of each limit, how much it holds (`allotted`),
what of that it has used, and what it expects to be asked for soon. About once a second, and soon when it runs short, it
takes the table's lock, reads what the others hold, and changes its own row only. It never takes what another one holds,
so what all hold together is never more than the limit:

- where all wishes fit into what is left, each gets its wish, and the rest stays in the pool for whoever needs it next;
- where they do not, what is left is divided in proportion to the wishes, but in whole requests: first come, first
  served.

A replica that has no row for a key admits on trust: a tenth of the limit, divided by the number of replicas, but one
request at least and never more than the pool. One that knows of no other admits up to the limit, but leaves a part of
that in the pool. Those are the only ways in which a limit is exceeded.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self

from headrace_queue.keys.counters import DAY, MINUTE
from headrace_queue.keys.meter import DAILY, Gauge, Kind, Meter

TRUST = 0.1
"""Of a limit, what all replicas together may admit before they know of each other."""
LIVE_SECONDS = 10.0
"""A replica that has not been heard of for so long holds nothing any more; what it has used stays used."""

_USED_SECONDS = MINUTE + LIVE_SECONDS
"""For so long what a silent replica used may be of the last minute: one that leaves tells that it is silent already."""

_AHEAD = 1.5
"""How many times what it was asked for lately a replica wants."""
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Claim:
    """One replica's part of one limit."""

    allotted: float
    used: float
    want: float = 0.0


@dataclass(frozen=True)
class Row:
    """One replica's parts of one key's limits; without claims the replica has no part any more."""

    replica: str
    key: str
    day: int
    """That the daily claims are for, in days since 1970."""
    claims: Mapping[Kind, Claim]


@dataclass
class Table:
    """What a replica knows of the others: their rows, and when each was last heard of (seconds since 1970)."""

    rows: dict[str, dict[str, Row]] = field(default_factory=dict)
    """By key and replica."""
    heard: dict[str, float] = field(default_factory=dict)
    alone: bool = False
    """Whether no other replica can be: those that the table has of before are gone, and have used what they used."""

    def take_in(self, rows: Iterable[Row], heard: Mapping[str, float]) -> None:
        """Newer rows replace older ones."""
        self.heard = dict(heard)
        for row in rows:
            self.rows.setdefault(row.key, {})[row.replica] = row

    def others(self, replica: str, now: float) -> int:
        """How many other replicas there are."""
        if self.alone:
            return 0
        return sum(1 for name, at in self.heard.items() if name != replica and now - at < LIVE_SECONDS)

    def of(self, key: str, kind: Kind, replica: str, now: float) -> "Others":
        """What the other replicas have of one limit."""
        found = Others()
        for name, row in self.rows.get(key, {}).items():
            claim = row.claims.get(kind)
            if claim is None or name == replica or (kind in DAILY and row.day != int(now) // DAY):
                continue
            silent = now - self.heard.get(name, 0.0)
            if silent < LIVE_SECONDS and not self.alone:
                found.held += claim.allotted
                found.used += claim.used
                found.want += claim.want
            elif kind in DAILY or (kind is not Kind.CONCURRENT_REQUESTS and silent < _USED_SECONDS):
                found.held += claim.used
                found.used += claim.used
        return found

    def prune(self, now: float) -> None:
        """Forget what can no longer matter: empty rows, and those of other days and replicas that are gone."""
        for key, rows in list(self.rows.items()):
            kept = {name: row for name, row in rows.items() if self._matters(row, now)}
            if kept:
                self.rows[key] = kept
            else:
                del self.rows[key]

    def _matters(self, row: Row, now: float) -> bool:
        recent = now - self.heard.get(row.replica, 0.0) < _USED_SECONDS
        return bool(row.claims) and (recent or row.day == int(now) // DAY)


@dataclass
class Others:
    """Sums over the other replicas; what those that are gone have used is held by nobody and yet used."""

    held: float = 0.0
    used: float = 0.0
    want: float = 0.0


def standby(limit: float, unit: float, replicas: int) -> float:
    """What a replica may admit of a limit before the others know."""
    return max(TRUST * limit / replicas, unit)


def divide(limit: float, used: float, wish: "Wish", others: Others) -> float:
    """How much of the limit a replica may hold now: what it has used, and its part of what is free."""
    free = limit - others.held - used
    unused = limit - others.used - used
    wanted = wish.amount + others.want
    fair = wish.amount if wanted <= unused else unused * wish.amount / wanted
    grant = min(max(fair, wish.unit), free)
    if wish.unit == 1.0:
        grant = float(int(grant + _ROUNDING))
    return used + (grant if grant >= wish.unit else 0.0)


@dataclass(frozen=True)
class Wish:
    """What a replica wants beyond what it has used; `unit` is what one request needs."""

    amount: float
    unit: float


@dataclass
class Proposal:
    """What `Sharing.propose` has decided: it holds once the rows are written."""

    rows: list[Row]
    """Those of this replica that have changed."""
    allotments: list[tuple[Gauge, "Allotment"]]
    idle: list[str]
    """Keys that nothing is known of any more: when they are used again they are welcomed anew."""


@dataclass(frozen=True)
class Allotment:
    """How far a gauge may go, and from where on it runs short."""

    allotted: float
    elsewhere: float
    low_water: float

    @classmethod
    def of(cls, used: float, allotted: float, elsewhere: float, *, alone: bool) -> Self:
        """Where nothing is to be had it is not asked for again before the next regular exchange."""
        return cls(allotted, elsewhere, math.inf if alone or allotted <= used else (used + allotted) / 2)

    def apply(self, gauge: Gauge) -> None:
        """Let the gauge go so far from now on."""
        gauge.allotted, gauge.elsewhere, gauge.low_water = self.allotted, self.elsewhere, self.low_water
        gauge.short = False


class Sharing:
    """One replica's part in it."""

    def __init__(self, replica: str) -> None:
        self.replica = replica
        self.table = Table()
        self._told: dict[str, Row] = {}

    def welcome(self, key: str, meter: Meter, now: float) -> None:
        """Say how far a meter may go that is used for the first time, or again after nothing was known of it."""
        for gauge in meter.gauges:
            self._trusted(key, gauge, now).apply(gauge)

    def propose(self, meters: Mapping[str, Meter], now: float) -> Proposal:
        """What this replica is to hold, and to tell; to be called with the table's lock, after `table.take_in`."""
        proposal = Proposal([], [], [])
        replicas = self.table.others(self.replica, now) + 1
        for key, meter in meters.items():
            demands = [(gauge, gauge.demand(now)) for gauge in meter.gauges]
            claims: dict[Kind, Claim] = {}
            if any(demand or gauge.used(now) for gauge, demand in demands):
                for gauge, demand in demands:
                    claims[gauge.kind], allotment = self._claim(key, gauge, demand, replicas, now)
                    proposal.allotments.append((gauge, allotment))
            else:
                proposal.idle.append(key)
            row = Row(self.replica, key, int(now) // DAY, claims)
            told = self._told.get(key)
            if (told.claims if told else {}) != claims or (told and claims and told.day != row.day):
                proposal.rows.append(row)
        return proposal

    def gone(self, meters: Mapping[str, Meter]) -> list[Row]:
        """What to tell of keys that have no limits any more."""
        told = [row for key, row in self._told.items() if row.claims and key not in meters]
        return [Row(self.replica, row.key, row.day, {}) for row in told]

    def accept(self, proposal: Proposal) -> None:
        """The rows are written: hold what was decided."""
        for gauge, allotment in proposal.allotments:
            allotment.apply(gauge)
        self._told |= {row.key: row for row in proposal.rows}

    def _trusted(self, key: str, gauge: Gauge, now: float) -> Allotment:
        replicas = self.table.others(self.replica, now) + 1
        others, used = self.table.of(key, gauge.kind, self.replica, now), gauge.used(now)
        pool = max(gauge.limit - others.held - used, 0.0)
        ready = pool if replicas == 1 else min(standby(gauge.limit, gauge.unit, replicas), pool)
        return Allotment.of(used, used + ready, others.used, alone=replicas == 1)

    def _claim(self, key: str, gauge: Gauge, demand: float, replicas: int, now: float) -> tuple[Claim, Allotment]:
        others, used = self.table.of(key, gauge.kind, self.replica, now), gauge.used(now)
        ahead = _AHEAD * demand - (used if gauge.kind is Kind.CONCURRENT_REQUESTS else 0.0)
        wish = Wish(max(ahead, standby(gauge.limit, gauge.unit, replicas)), gauge.unit)
        if replicas == 1:
            held, allotment = self._all_of_it(gauge, used, wish, others)
        else:
            held = divide(gauge.limit, used, wish, others)
            allotment = Allotment.of(used, held, others.used, alone=False)
        return Claim(round(held, 3), round(used, 3), round(wish.amount, 3)), allotment

    def _all_of_it(self, gauge: Gauge, used: float, wish: Wish, others: Others) -> tuple[float, Allotment]:
        """What a replica without others claims, and how far it goes.

        It may go to the limit. But it claims no more of what is free than half, so that there is some for one that
        takes its place before the table has missed it, or joins it. When it has used much beyond that it tells soon.
        """
        allotted = max(gauge.limit - others.held, used)
        free = allotted - used
        held = allotted if self.table.alone else used + max(min(wish.amount, free), free / 2)
        low_water = held if allotted - held > TRUST * gauge.limit else math.inf
        return held, Allotment(allotted, others.used, low_water)
