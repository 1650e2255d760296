"""Which workers are told that requests wait here: decisions only.

A worker that is connected with several replicas of the queue has its idle credits at some of them. Where requests wait
it is asked to bring some. All of thousands of workers cannot be asked at each change, and need not be: each time a few
are, drawn by lot, until nothing waits. Those that were asked are told when it is over, and those that have brought
credits since are told what is wanted now, so that what a worker knows is old only where it has not acted on it.
"""

import math
import random
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field

from headrace_api.wire import Demand

EVERY_S = 0.02
"""A first change is told at once, further ones no more often than this."""
MOST = 32
"""Workers that are asked at a time, for each model."""
_FEWEST = 2
"""Asked for one request: one of them may have nothing idle."""
_AGAIN_S = 0.2
"""A worker that has brought nothing since it was told is not told again sooner."""


@dataclass(frozen=True)
class Wait:
    """The requests for one model that wait."""

    number: int
    since: float
    """When the oldest came, in seconds."""
    workers: Sequence[int]
    """Those that could serve them."""


@dataclass
class Asking:
    """What each worker has been told."""

    chance: random.Random = field(default_factory=random.Random)
    _told: dict[int, float] = field(default_factory=dict)
    """When, for workers that believe that something waits."""
    _brought: set[int] = field(default_factory=set)
    """Those of them that have granted credits since."""

    @property
    def quiet(self) -> bool:
        """Whether nobody believes that something waits."""
        return not self._told

    def forget(self, worker: int) -> None:
        """It has left."""
        self._told.pop(worker, None)
        self._brought.discard(worker)

    def brought(self, worker: int) -> None:
        """It has granted credits."""
        if worker in self._told:
            self._brought.add(worker)

    def due(self, waits: Iterable[Wait], now: float, able: Container[int]) -> dict[int, Demand]:
        """What to tell whom now.

        Args:
            waits: what waits.
            now: seconds, on the clock of `Wait.since`.
            able: the workers that understand it.
        """
        found: dict[int, Demand] = {}
        waiting: set[int] = set()
        for wait in waits:
            workers = [worker for worker in wait.workers if worker in able]
            waiting.update(workers)
            asked = self.chance.sample(workers, min(len(workers), MOST, max(_FEWEST, wait.number)))
            each = math.ceil(wait.number / max(1, len(asked)))
            for worker in {*self._brought.intersection(workers), *filter(lambda one: self._may_ask(one, now), asked)}:
                before = found.get(worker, Demand(n=0))
                waited_s = max(before.waited_s, round(now - wait.since, 3))
                found[worker] = Demand(n=before.n + each, waited_s=waited_s)
        self._told.update(dict.fromkeys(found, now))
        self._brought.clear()
        for worker in self._told.keys() - waiting:
            del self._told[worker]
            found[worker] = Demand(n=0)
        return found

    def _may_ask(self, worker: int, now: float) -> bool:
        return now - self._told.get(worker, -math.inf) >= _AGAIN_S
