"""How a worker's slots are shared between the replicas of the queue that it is connected with. Pure.

Join-idle-queue: idle credits lie with the replicas, so that a request that arrives at one of them is taken at once.
They are spread evenly, for any replica may get the next request. Where requests wait (`wire.Demand`) a slot that
becomes free goes first, to the request that has waited longest as far as can be told: as many as wait are taken to have
arrived evenly since the oldest one did. Idle credits that lie elsewhere are recalled for them.
"""

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

K = TypeVar("K")


@dataclass(slots=True)
class Seat:
    """What is between the worker and one replica."""

    returns: bool = True
    """Whether the replica answers `wire.Recall`."""
    open: bool = True
    """Whether credits may be granted: registered, and neither side drains."""
    credits: int = 0
    """Granted, and neither used nor returned."""
    recalled: int = 0
    """Asked back without an answer yet."""
    jobs: int = 0
    """Under way."""
    wanted: int = 0
    """Requests that wait there for this worker's credits."""
    since: float = 0.0
    """When the oldest of them came, in seconds."""

    def job_came(self) -> None:
        """The replica used a credit."""
        self.credits = max(0, self.credits - 1)
        self.wanted = max(0, self.wanted - 1)

    def demanded(self, number: int, since: float) -> None:
        """Take the newest `wire.Demand`."""
        self.wanted, self.since = number, since

    def returned(self, number: int) -> None:
        """Take a `wire.Returned`."""
        self.credits = max(0, self.credits - number)
        self.recalled = 0

    def close(self) -> None:
        """No more is granted, and what was is void: one side drains."""
        self.open = False
        self.credits = self.recalled = self.wanted = 0

    @property
    def unmet(self) -> int:
        """How many more credits would be used at once."""
        return max(0, self.wanted - self.credits) if self.open else 0

    @property
    def idle(self) -> int:
        """How many credits can be recalled now."""
        return max(0, self.credits - self.wanted) if self.open and self.returns and not self.recalled else 0


def moves(now: float, slots: int, seats: Mapping[K, Seat], turn: int) -> dict[K, int]:
    """The credits to grant (positive) and to recall (negative) now; the seats are not changed.

    Args:
        now: seconds, on the clock of `Seat.since`.
        slots: requests that the worker takes at a time.
        seats: all of them; jobs of a closed seat are under way, too.
        turn: where to begin among seats that have the same claim; another one each time, so that none is preferred.
    """
    free, recalled, unmet = slots, 0, []
    for key, seat in seats.items():  # in one pass: this happens several times a request, with up to a hundred seats
        free -= seat.credits + seat.jobs
        recalled += seat.recalled
        if seat.wanted > seat.credits and seat.open:
            unmet.append((key, seat))
    if free > 0:
        return _grants(now, free, seats, unmet, turn)
    on_the_way = recalled + free  # what comes back beyond what is granted too much, after the slots have become fewer
    wanted = max(0, sum(seat.unmet for _, seat in unmet) or _to_level(seats))
    return _recalls(wanted - on_the_way, seats) if wanted > on_the_way else {}


def _grants(now: float, free: int, seats: Mapping[K, Seat], unmet: Sequence[tuple[K, Seat]], turn: int) -> dict[K, int]:
    found: dict[K, int] = {}
    for key in _oldest_first(now, free, unmet):
        found[key] = found.get(key, 0) + 1
        free -= 1
    if free:
        idle = [(key, seat.credits + found.get(key, 0) - seat.wanted) for key, seat in seats.items() if seat.open]
        for key in _evenly(free, idle, turn):
            found[key] = found.get(key, 0) + 1
    return found


def _oldest_first(now: float, free: int, unmet: Sequence[tuple[K, Seat]]) -> Iterator[K]:
    """Which seats the requests are at that have waited longest, at most `free` of them."""
    heads = [(seat.since, index, 0) for index, (_, seat) in enumerate(unmet)]
    heapq.heapify(heads)
    for _ in range(free):
        if not heads:
            return
        _, index, taken = heapq.heappop(heads)
        key, seat = unmet[index]
        taken += 1
        if taken < seat.unmet:
            came = seat.since + (now - seat.since) * taken / seat.unmet
            heapq.heappush(heads, (came, index, taken))
        yield key


def _evenly(number: int, have: Sequence[tuple[K, int]], turn: int) -> Iterator[K]:
    """Who gets one more, so that all have about as many."""
    if not have:
        return
    begin = turn % len(have)
    heap = [(max(0, count), order, key) for order, (key, count) in enumerate([*have[begin:], *have[:begin]])]
    if number == 1:
        yield min(heap)[2]
        return
    heapq.heapify(heap)
    for _ in range(number):
        count, order, key = heap[0]
        heapq.heapreplace(heap, (count + 1, order, key))
        yield key


def _recalls(number: int, seats: Mapping[K, Seat]) -> dict[K, int]:
    """From whom to recall: one after the other from the seat that has most."""
    found: dict[K, int] = {}
    heap = [(-seat.idle, index, key) for index, (key, seat) in enumerate(seats.items()) if seat.idle]
    heapq.heapify(heap)
    for _ in range(min(number, sum(seat.idle for seat in seats.values()))):
        idle, index, key = heap[0]
        heapq.heapreplace(heap, (idle + 1, index, key))
        found[key] = found.get(key, 0) - 1
    return found


def _to_level(seats: Mapping[K, Seat]) -> int:
    """How many credits to move so that replicas without any get a part of those that others have idle.

    Not only one each: that would be a recall for every request while all requests come to one replica.
    """
    most = empty = 0
    for seat in seats.values():
        if seat.credits > most:
            most = max(most, seat.idle)
        elif not seat.credits:
            empty += seat.open
    return empty * (most // (empty + 1))
