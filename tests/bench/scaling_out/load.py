"""What is asked, and what one queue in front of all slots would make of it."""

import heapq
import random
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Fleet:
    """What there is."""

    replicas: int
    workers: int
    slots: int
    """Of each worker."""
    service_s: float = 2.0
    """The mean time that a request is computed; exponential."""
    delay_s: float = 0.001
    """Of a message between replica and worker, each way."""

    @property
    def per_second(self) -> float:
        """Requests that can be answered."""
        return self.workers * self.slots / self.service_s


@dataclass(frozen=True)
class Request:
    """One request: when it comes, how long it is computed, and at which replica it arrives."""

    came: float
    takes: float
    replica: int


Profile = Sequence[tuple[float, float]]
"""Parts of the time: seconds, and the share of what the fleet can answer."""


def requests(fleet: Fleet, profile: Profile, seed: int, skew: float = 0.0) -> list[Request]:
    """Poisson arrivals; `skew` of them come to the first tenth of the replicas, the rest to any."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    found: list[Request] = []
    begin, few = 0.0, max(1, fleet.replicas // 10)
    for seconds, share in profile:
        now, end = begin, begin + seconds
        while share and (now := now + chance.expovariate(share * fleet.per_second)) < end:
            among = few if chance.random() < skew else fleet.replicas
            found.append(Request(now, chance.expovariate(1 / fleet.service_s), chance.randrange(among)))
        begin = end
    return found


def ideal(fleet: Fleet, asked: Sequence[Request]) -> list[float]:
    """The seconds that each request waits in one queue that gives the oldest to any free slot, without delay."""
    free = [0.0] * (fleet.workers * fleet.slots)
    waits = []
    for one in asked:
        begin = max(one.came, free[0])
        heapq.heapreplace(free, begin + one.takes)
        waits.append(begin - one.came)
    return waits
