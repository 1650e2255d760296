"""Replicas and workers that exchange the protocol's messages, played event by event."""

import heapq
import itertools
import random
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from headrace_api.wire import Demand
from headrace_queue.demand import EVERY_S, Asking, Wait
from headrace_worker.sharing import Seat, moves
from tests.bench.scaling_out.load import Fleet, Request


@dataclass
class Outcome:
    """What came of it."""

    waits: list[float]
    """Of each request, until its job was sent."""
    messages: Counter[str]
    most_waiting: dict[int, int] = field(default_factory=dict)
    """In each second, at all replicas together."""


class _Replica:
    """Gives the oldest request to the worker with the most credits, as `headrace_queue.schedule` does."""

    def __init__(self, seed: int, workers: int) -> None:
        self.waiting: deque[int] = deque()
        self.credits = [0] * workers
        self.asking = Asking(random.Random(seed))  # noqa: S311 - no secret
        self.ticking = False
        self._heap: list[tuple[int, float, int]] = []
        self._chance = random.Random(-seed)  # noqa: S311 - no secret

    def grant(self, worker: int, number: int) -> None:
        self.credits[worker] += number
        self._push(worker)

    def take_back(self, worker: int, number: int) -> int:
        taken = min(number, self.credits[worker])
        self.credits[worker] -= taken
        self._push(worker)
        return taken

    def use(self) -> int | None:
        """The worker whose credit is used; None when there is none."""
        while self._heap:
            count, _, worker = heapq.heappop(self._heap)
            if self.credits[worker] == -count:
                self.credits[worker] -= 1
                self._push(worker)
                return worker
        return None

    def _push(self, worker: int) -> None:
        if self.credits[worker]:
            heapq.heappush(self._heap, (-self.credits[worker], self._chance.random(), worker))


class Simulation:
    """One run. Without `moving` a worker's slots are divided once, and stay where they are."""

    def __init__(self, fleet: Fleet, asked: Sequence[Request], *, moving: bool = True, seed: int = 1) -> None:
        self._fleet = fleet
        self._asked = asked
        self._moving = moving
        self._chance = random.Random(seed)  # noqa: S311 - no secret
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._numbers = itertools.count()
        self._now = 0.0
        self._replicas = [_Replica(seed + number, fleet.workers) for number in range(fleet.replicas)]
        self._everybody = range(fleet.workers)
        self._seats = [{number: Seat() for number in range(fleet.replicas)} for _ in self._everybody]
        self._waiting = 0
        self._outcome = Outcome([0.0] * len(asked), Counter())

    def run(self) -> Outcome:
        """Until every request has been answered."""
        for worker in self._everybody:
            self._settle(worker)
        for number, one in enumerate(self._asked):
            self._at(one.came, self._arrive, number)
        while self._events:
            self._now, _, act, arguments = heapq.heappop(self._events)
            act(*arguments)
        return self._outcome

    def held(self) -> int:
        """Credits of all workers, wherever they are: after a run, as many as there are slots."""
        return sum(seat.credits + seat.jobs for seats in self._seats for seat in seats.values())

    def _at(self, time: float, act: Callable[..., None], *arguments: Any) -> None:
        heapq.heappush(self._events, (time, next(self._numbers), act, arguments))

    def _send(self, kind: str, act: Callable[..., None], *arguments: Any) -> None:
        self._outcome.messages[kind] += 1
        self._at(self._now + self._fleet.delay_s, act, *arguments)

    # ---- at a replica

    def _arrive(self, number: int) -> None:
        replica = self._asked[number].replica
        self._replicas[replica].waiting.append(number)
        self._waiting += 1
        self._give(replica)

    def _give(self, replica: int) -> None:
        here = self._replicas[replica]
        while here.waiting and (worker := here.use()) is not None:
            number = here.waiting.popleft()
            self._waiting -= 1
            self._outcome.waits[number] = self._now - self._asked[number].came
            self._send("Job", self._begin, worker, number)
        second = int(self._now)
        most = self._outcome.most_waiting
        most[second] = max(most.get(second, 0), self._waiting)
        if here.waiting and self._moving and not here.ticking:
            here.ticking = True
            self._tell(replica)

    def _tell(self, replica: int) -> None:
        """What `headrace_queue.demand_teller` does."""
        here = self._replicas[replica]
        waits = []
        if here.waiting:
            waits = [Wait(len(here.waiting), self._asked[here.waiting[0]].came, self._everybody)]
        for worker, demand in here.asking.due(waits, self._now, self._everybody).items():
            self._send("Demand", self._hear, worker, replica, demand)
        here.ticking = bool(waits) or not here.asking.quiet
        if here.ticking:
            self._at(self._now + EVERY_S, self._tell, replica)

    def _take_credit(self, worker: int, replica: int, number: int) -> None:
        here = self._replicas[replica]
        here.asking.brought(worker)
        here.grant(worker, number)
        self._give(replica)

    def _take_recall(self, worker: int, replica: int, number: int) -> None:
        returned = self._replicas[replica].take_back(worker, number)
        self._send("Returned", self._returned, worker, replica, returned)

    # ---- at a worker

    def _begin(self, worker: int, number: int) -> None:
        one = self._asked[number]
        seat = self._seats[worker][one.replica]
        seat.job_came()
        seat.jobs += 1
        self._at(self._now + one.takes, self._end, worker, one.replica)

    def _end(self, worker: int, replica: int) -> None:
        self._seats[worker][replica].jobs -= 1
        if self._moving:
            self._settle(worker)
        else:
            self._move(worker, replica, 1)

    def _hear(self, worker: int, replica: int, demand: Demand) -> None:
        self._seats[worker][replica].demanded(demand.n, self._now - demand.waited_s)
        self._settle(worker)

    def _returned(self, worker: int, replica: int, number: int) -> None:
        self._seats[worker][replica].returned(number)
        self._settle(worker)

    def _settle(self, worker: int) -> None:
        seats = self._seats[worker]
        while due := moves(self._now, self._fleet.slots, seats, self._chance.randrange(self._fleet.replicas)):
            for replica, number in due.items():
                self._move(worker, replica, number)

    def _move(self, worker: int, replica: int, number: int) -> None:
        seat = self._seats[worker][replica]
        if number > 0:
            seat.credits += number
            self._send("Credit", self._take_credit, worker, replica, number)
        else:
            seat.recalled = -number
            self._send("Recall", self._take_recall, worker, replica, -number)
