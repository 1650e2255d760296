"""What one key uses against its limits, in this replica of the queue. Pure: the time is handed in, seconds since 1970.

A request is counted when it is admitted. Its tokens are not known then: an estimate is reserved, and when the request
ends what it really used takes the place of the reservation. So a limit on tokens is on those of requests that ended in
the last minute, plus what those under way are expected to use. A request whose client leaves before a worker has told
the tokens counts as was estimated until they are told, and for good if they never are.

Each limit is divided among the replicas (`shares`): a replica admits what fits into its `allotted` part.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

from headrace_api.keys import KeyLimits
from headrace_queue.keys.counters import MINUTE, LastMinute, Nothing, Today

_ROUNDING = 1e-6
_LEARNING = 0.1
_LITTLE = 0.05


class Kind(StrEnum):
    """What a limit is on."""

    REQUESTS_PER_MINUTE = "requests_per_minute"
    TOKENS_PER_MINUTE = "tokens_per_minute"
    REQUESTS_PER_DAY = "requests_per_day"
    TOKENS_PER_DAY = "tokens_per_day"
    CONCURRENT_REQUESTS = "concurrent_requests"


_COUNTERS: dict[Kind, type[LastMinute | Today | Nothing]] = {
    Kind.REQUESTS_PER_MINUTE: LastMinute,
    Kind.TOKENS_PER_MINUTE: LastMinute,
    Kind.REQUESTS_PER_DAY: Today,
    Kind.TOKENS_PER_DAY: Today,
    Kind.CONCURRENT_REQUESTS: Nothing,
}
_OF_TOKENS = frozenset({Kind.TOKENS_PER_MINUTE, Kind.TOKENS_PER_DAY})
DAILY = frozenset({Kind.REQUESTS_PER_DAY, Kind.TOKENS_PER_DAY})


class Gauge:
    """One limit of one key."""

    __slots__ = (
        "_counter", "_demand", "_demand_at", "_reserves", "allotted", "elsewhere", "kind", "limit", "low_water",
        "reserved", "short", "tokens", "unit",
    )  # fmt: skip

    def __init__(self, kind: Kind, limit: int) -> None:
        self.kind = kind
        self.limit = limit
        self.allotted: float = float(limit)
        """How far this replica may go."""
        self.low_water = math.inf
        """From where on it should ask for more."""
        self.short = False
        """Whether it has come so far."""
        self.elsewhere = 0.0
        """What other replicas have used of the limit, as far as is known here."""
        self.reserved = 0.0
        self.unit = 1.0
        """What one request needs, as far as is known."""
        self.tokens = kind in _OF_TOKENS
        self._reserves = self.tokens or kind is Kind.CONCURRENT_REQUESTS
        self._counter = _COUNTERS[kind]()
        self._demand = 0.0
        self._demand_at = 0.0

    def used(self, now: float) -> float:
        """In this replica; what is reserved is used."""
        return self._counter.used(now) + self.reserved

    def fits(self, need: float, now: float) -> bool:
        """Whether a request may come; one that needs more than the limit fits when nothing else is counted."""
        need = min(need, self.limit)
        after = self._counter.used(now) + self.reserved + need
        fits = after <= self.allotted + _ROUNDING
        if after > self.low_water:
            self.short = True
        if self.tokens:
            self.unit += (need - self.unit) * (_LEARNING if self.unit > 1 else 1.0)
        if self.kind is Kind.CONCURRENT_REQUESTS:
            self._demand = max(self._demand, after) if fits else self._demand + 1
        else:
            self._demand += need
        return fits

    def demand(self, now: float) -> float:
        """What was asked for lately, granted or not: of some two seconds; for requests under way, their peak."""
        passed = min(max(now - self._demand_at, 0.0), MINUTE)
        self._demand_at = now
        asked = self._demand
        self._demand *= 0.5**passed
        if self._demand < _LITTLE:
            self._demand = 0.0
        return asked if asked >= _LITTLE else 0.0

    def take(self, need: float, now: float) -> float:
        """A request comes; returns what is reserved for it until it ends."""
        if not self._reserves:
            self._counter.add(need, now)
            return 0.0
        need = min(need, self.limit)
        self.reserved += need
        return need

    def settle(self, reserved: float, tokens: float, now: float) -> None:
        """It ended, and has used so many tokens."""
        left = self.reserved - reserved
        self.reserved = left if left > _ROUNDING else 0.0
        if self.tokens:
            self._counter.add(tokens, now)

    def correct(self, change: float, since: float, now: float) -> None:
        """One that ended at `since` has used so many more tokens than were counted, or fewer."""
        if self.tokens:
            self._counter.correct(change, since, now)

    def seconds_until(self, need: float, now: float) -> float:
        """How long until so much may fit."""
        missing = self.used(now) + min(need, self.limit) - self.allotted
        return self._counter.seconds_until(missing, now)

    def state(self, now: float) -> tuple[int, float]:
        """What is left of the limit, in all replicas, and how long until all of it is again if nothing is asked for."""
        used = self._counter.used(now) + self.reserved
        left = self.limit - self.elsewhere - used
        return (int(left) if left > 0 else 0), (self._counter.seconds_until_none(now) if used else 0.0)


@dataclass(frozen=True)
class Refusal:
    """A request that does not fit into a limit."""

    gauge: Gauge
    need: float
    retry_seconds: float


class Meter:
    """All limits of one key."""

    def __init__(self, limits: KeyLimits) -> None:
        self.gauges: tuple[Gauge, ...] = ()
        self.short = False
        """Whether this replica should ask for more of a limit."""
        self._limits: KeyLimits | None = None
        self.set_limits(limits)

    def set_limits(self, limits: KeyLimits) -> bool:
        """Have these limits from now on, and the whole of them; what was used counts against them.

        Returns whether they are others than before; if not, nothing has changed.
        """
        if limits == self._limits:
            return False
        self._limits = limits
        before = {gauge.kind: gauge for gauge in self.gauges}
        gauges = []
        for kind in Kind:
            limit = getattr(limits, kind.value)
            if isinstance(limit, int):
                gauge = before.get(kind) or Gauge(kind, limit)
                gauge.limit, gauge.allotted, gauge.low_water = limit, float(limit), math.inf
                gauges.append(gauge)
        self.gauges = tuple(gauges)
        self._by_kind = {gauge.kind: gauge for gauge in gauges}
        return True

    def first(self, kinds: tuple[Kind, ...]) -> Gauge | None:
        """The limit of the first of these kinds that is limited."""
        for kind in kinds:
            if gauge := self._by_kind.get(kind):
                return gauge
        return None

    def admit(self, tokens: float, now: float) -> "Taken | Refusal":
        """Take a request that will use about so many tokens; or take nothing, and say what it does not fit into."""
        refused: Refusal | None = None
        self.short = False
        for gauge in self.gauges:
            need = tokens if gauge.tokens else 1.0
            if not gauge.fits(need, now) and refused is None:
                refused = Refusal(gauge, need, gauge.seconds_until(need, now))
            if gauge.short:
                self.short = True
        if refused is not None:
            return refused
        reservations = []
        for gauge in self.gauges:
            if reserved := gauge.take(tokens if gauge.tokens else 1.0, now):
                reservations.append((gauge, reserved))  # noqa: PERF401 - taking is more than making a list
        return Taken(tuple(reservations), tokens)


class Taken:
    """A request that was admitted, with what is reserved for it."""

    __slots__ = ("_left_at", "_reservations", "tokens")

    def __init__(self, reservations: tuple[tuple[Gauge, float], ...], tokens: float) -> None:
        self.tokens = tokens
        """That it was expected to use."""
        self._reservations = reservations
        self._left_at: float | None = None

    def leave(self, now: float) -> None:
        """Nobody waits for the request any more; until `settle` it counts as if it had used what is reserved."""
        self._left_at = now
        for gauge, reserved in self._reservations:
            gauge.settle(reserved, reserved, now)

    def settle(self, tokens: float, now: float) -> None:
        """The request has ended, and has used so many tokens; to be said once."""
        left_at = self._left_at
        for gauge, reserved in self._reservations:
            if left_at is None:
                gauge.settle(reserved, tokens, now)
            else:
                gauge.correct(tokens - reserved, left_at, now)
