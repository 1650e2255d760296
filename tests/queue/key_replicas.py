"""Replicas of the queue that share limits through a table, driven by seeded traffic: nothing is real but the decisions."""

import heapq
import itertools
import random
from bisect import bisect_left
from dataclasses import dataclass, field

from headrace_api.keys import KeyLimits
from headrace_queue.keys.meter import Meter, Refusal, Taken
from headrace_queue.keys.shares import Row, Sharing

KEY = "k"
START = 1_000_000.0


@dataclass
class Traffic:
    """What clients send: at `rates[replica]` requests per second, each taking `seconds` and about `tokens`."""

    rates: list[float]
    seconds: float = 0.5
    tokens: float = 100.0
    length: float = 300.0

    def arrivals(self, seed: int) -> list[tuple[float, int, float, float, float]]:
        """Time, replica, estimated tokens, real tokens, duration; in order of time."""
        rng, found = random.Random(seed), []
        for replica, rate in enumerate(self.rates):
            at = START
            while rate and (at := at + rng.expovariate(rate)) < START + self.length:
                real = self.tokens * rng.choice((0.5, 0.75, 1.25, 1.5))
                found.append((at, replica, self.tokens, real, rng.expovariate(1 / self.seconds)))
        return sorted(found)


@dataclass
class Outcome:
    """When requests were admitted, with their real tokens; the most that were under way at a time."""

    admitted: list[tuple[float, float]] = field(default_factory=list)
    asked: int = 0
    busiest: int = 0

    def requests(self, since: float = 0) -> int:
        return sum(1 for at, _ in self.admitted if at >= START + since)

    def tokens(self, since: float = 0) -> float:
        return sum(tokens for at, tokens in self.admitted if at >= START + since)

    def busiest_minute(self) -> int:
        """The most requests admitted within any 60 seconds."""
        times = [at for at, _ in self.admitted]
        return max((index + 1 - bisect_left(times, at - 60) for index, at in enumerate(times)), default=0)


class Replicas:
    """So many replicas, and the table between them."""

    def __init__(self, count: int, limits: KeyLimits, seed: int, *, shared: bool = True) -> None:
        self.rng = random.Random(seed)
        self.sharing = [Sharing(str(number)) for number in range(count)]
        self.meters = [Meter(limits) for _ in range(count)]
        self.shared = shared
        self.rows: dict[str, Row] = {}
        self.heard: dict[str, float] = {}
        self.exchanged = [-9e9] * count
        self.exchanges = 0
        for number in range(count):
            self.heard[str(number)] = START
        for number in range(count):
            self._welcome(number, START)

    def exchange(self, number: int, now: float) -> None:
        sharing = self.sharing[number]
        self.exchanges += 1
        self.heard[sharing.replica] = now
        self.exchanged[number] = now
        sharing.table.take_in(self.rows.values(), self.heard)
        proposal = sharing.propose({KEY: self.meters[number]}, now)
        self.rows |= {row.replica: row for row in proposal.rows}
        sharing.accept(proposal)

    def run(self, traffic: Traffic, seed: int) -> Outcome:
        """Send the traffic; every replica exchanges once a second, and 0.1 s after it runs short."""
        outcome, running, order = Outcome(), 0, itertools.count()
        events: list[tuple[float, int, str, tuple]] = [
            (at, next(order), "request", rest) for at, *rest in traffic.arrivals(seed)
        ]
        for number in range(len(self.meters)):
            if self.shared:
                events.append((START + self.rng.random(), next(order), "exchange", (number, True)))
        heapq.heapify(events)
        while events:
            now, _, what, rest = heapq.heappop(events)
            if now > START + traffic.length:
                break
            match what:
                case "exchange":
                    number, again = rest
                    if again or now - self.exchanged[number] > 0.05:
                        self.exchange(number, now)
                    if again:
                        heapq.heappush(events, (now + 1, next(order), "exchange", (number, True)))
                case "request":
                    number, estimate, real, seconds = rest
                    outcome.asked += 1
                    number = number if self.shared else 0
                    taken = self.meters[number].admit(estimate, now)
                    if any(gauge.short for gauge in self.meters[number].gauges) and self.shared:
                        due = max(now + 0.005, self.exchanged[number] + 0.1)
                        heapq.heappush(events, (due, next(order), "exchange", (number, False)))
                        for gauge in self.meters[number].gauges:
                            gauge.short = False
                    if isinstance(taken, Taken):
                        running += 1
                        outcome.busiest = max(outcome.busiest, running)
                        outcome.admitted.append((now, real))
                        heapq.heappush(events, (now + seconds, next(order), "end", (taken, real)))
                    assert isinstance(taken, Taken | Refusal)
                case "end":
                    running -= 1
                    rest[0].settle(rest[1], now)
        return outcome

    def _welcome(self, number: int, now: float) -> None:
        if self.shared:
            self.sharing[number].table.take_in([], self.heard)
            self.sharing[number].welcome(KEY, self.meters[number], now)


def uneven(replicas: int, total: float, seed: int) -> list[float]:
    """Rates that add up to `total`: the first replica gets most, some get next to nothing."""
    rng = random.Random(seed)
    weights = [rng.random() ** 3 + 0.001 for _ in range(replicas)]
    return [total * weight / sum(weights) for weight in weights]
