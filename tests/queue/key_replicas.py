"""Replicas of the queue that share a key's limits, driven by seeded traffic; only the decisions are real."""

import heapq
import itertools
import random
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from headrace_api.keys import KeyLimits
from headrace_queue.keys.meter import Meter, Taken
from headrace_queue.keys.shares import Row, Sharing

KEY = "k"
START = 1_000_000.0


@dataclass
class Traffic:
    """What clients send: at `rates[replica]` requests per second, each taking `seconds` and about `tokens`."""

    rates: Sequence[float]
    seconds: float = 0.5
    tokens: float = 100.0
    length: float = 180.0


@dataclass
class Outcome:
    """When requests were admitted, with their real tokens; the most that were under way at a time."""

    admitted: list[tuple[float, float]] = field(default_factory=list)
    asked: int = 0
    running: int = 0
    busiest: int = 0

    @property
    def requests(self) -> int:
        return len(self.admitted)

    @property
    def tokens(self) -> float:
        return sum(tokens for _, tokens in self.admitted)

    def busiest_minute(self) -> int:
        """The most requests admitted within any 60 seconds."""
        times = [at for at, _ in self.admitted]
        return max((index + 1 - bisect_left(times, at - 60) for index, at in enumerate(times)), default=0)


class Replicas:
    """So many replicas, and the table between them; with `shared=False` one that gets everything, and no table."""

    def __init__(self, count: int, limits: KeyLimits, seed: int, *, shared: bool = True, alone: bool = False) -> None:
        """`alone`: no other replica can be, as with SQLite."""
        self.outcome = Outcome()
        self.exchanges = 0
        self.meters = [Meter(limits) for _ in range(count)]
        self._shared = shared
        self._alone = alone
        self._limits = limits
        self._seed = seed
        self._rng = random.Random(seed)  # noqa: S311 - to be the same each time
        self._sharing = [Sharing(str(number)) for number in range(count)]
        self.rows: dict[str, Row] = {}
        self._heard = {each.replica: START for each in self._sharing}
        self._exchanged = [0.0] * count
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._gone: set[int] = set()
        self._order = itertools.count()
        self._now = START
        for each, meter in zip(self._sharing, self.meters, strict=True):
            if shared:
                each.table.alone = alone
                each.table.take_in([], self._heard)
                each.welcome(KEY, meter, START)

    def run(self, traffic: Traffic) -> Outcome:
        """Send the traffic; every replica exchanges once a second, and 0.1 s after it runs short."""
        for number, rate in enumerate(traffic.rates):
            if self._shared:
                self._at(self._now + self._rng.random(), lambda number=number: self._regularly(number))
            if rate:
                self._next(number, rate, traffic, random.Random(f"{self._seed}/{number}"))  # noqa: S311
        while self._events and self._events[0][0] < START + traffic.length:
            self._now, _, happen = heapq.heappop(self._events)
            happen()
        return self.outcome

    def set_limits(self, limits: KeyLimits) -> None:
        """As when a key's limits are changed: every replica takes them in."""
        for each, meter in zip(self._sharing, self.meters, strict=True):
            if meter.set_limits(limits):
                each.welcome(KEY, meter, self._now)

    def leave(self, number: int) -> None:
        """A replica stops, without a word."""
        self._gone.add(number)

    def restart(self, number: int) -> None:
        """A replica that was killed is there again; it knows nothing but the table, which has not missed it yet."""
        self._gone.discard(number)
        name = f"{self._sharing[number].replica}'"
        sharing = self._sharing[number] = Sharing(name)
        sharing.table.alone = self._alone
        meter = self.meters[number] = Meter(self._limits)
        self._heard[name] = self._now
        sharing.table.take_in(self.rows.values(), self._heard)
        sharing.welcome(KEY, meter, self._now)

    def _at(self, when: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), happen))

    def _next(self, number: int, rate: float, traffic: Traffic, rng: random.Random) -> None:
        real, seconds = traffic.tokens * rng.choice((0.5, 0.75, 1.25, 1.5)), rng.expovariate(1 / traffic.seconds)

        def come() -> None:
            self._request(number if self._shared else 0, traffic.tokens, real, seconds)
            self._next(number, rate, traffic, rng)

        self._at(self._now + rng.expovariate(rate), come)

    def _request(self, number: int, guess: float, tokens: float, seconds: float) -> None:
        if number in self._gone:
            return
        outcome, meter = self.outcome, self.meters[number]
        outcome.asked += 1
        taken = meter.admit(guess, self._now)
        if meter.short and self._shared:
            self._at(max(self._now + 0.005, self._exchanged[number] + 0.1), lambda: self._exchange(number))
        if not isinstance(taken, Taken):
            return
        outcome.running += 1
        outcome.busiest = max(outcome.busiest, outcome.running)
        outcome.admitted.append((self._now, tokens))
        self._at(self._now + seconds, lambda: self._end(taken, tokens))

    def _end(self, taken: Taken, tokens: float) -> None:
        self.outcome.running -= 1
        taken.settle(tokens, self._now)

    def _regularly(self, number: int) -> None:
        self._exchange(number)
        self._at(self._now + 1, lambda: self._regularly(number))

    def _exchange(self, number: int) -> None:
        if number in self._gone or self._now - self._exchanged[number] < 0.05:
            return
        sharing = self._sharing[number]
        self.exchanges += 1
        self._exchanged[number] = self._heard[sharing.replica] = self._now
        sharing.table.take_in(self.rows.values(), self._heard)
        meter = self.meters[number]
        meters = {KEY: meter} if meter.gauges else {}
        proposal = sharing.propose(meters, self._now)
        proposal.rows += sharing.gone(meters)
        self.rows |= {row.replica: row for row in proposal.rows}
        sharing.accept(proposal)
        if proposal.idle and meter.gauges:
            sharing.welcome(KEY, meter, self._now)


def even(replicas: int, total: float, _: int) -> list[float]:
    """As a load balancer that goes round."""
    return [total / replicas] * replicas


def uneven(replicas: int, total: float, seed: int) -> list[float]:
    """Some get most, and some next to nothing."""
    rng = random.Random(seed)  # noqa: S311
    weights = [rng.random() ** 3 + 0.001 for _ in range(replicas)]
    return [total * weight / sum(weights) for weight in weights]


def one(replicas: int, total: float, _: int) -> list[float]:
    """As a client with one connection."""
    return [total] + [0.0] * (replicas - 1)
