"""The workers, and which of them takes a request.

Workers that serve the same models are a `Pool`, so that one which has hundreds of adapters is ranked once. Of a pool's
workers the one with the most free credits is taken.

A generalist (a worker of the seed's protocol, which announces no model) takes only requests for models that match the
patterns and that no dedicated worker serves at the time: an answer never comes from an unknown model while the right
one is there. A worker that is not ready yet is told of, but serves nothing.
"""

from collections.abc import Collection, Iterable, Sequence
from fnmatch import fnmatchcase

from headrace_queue.schedule.affinity import Affinity
from headrace_queue.schedule.generalists import Generalists
from headrace_queue.schedule.shares import Lane
from headrace_queue.schedule.worker import Pool, Worker

_NO_POOLS: dict[frozenset[str], Pool] = {}


class Workforce:
    """All workers, by the models that they serve."""

    def __init__(self, generalist_patterns: Sequence[str], slack: int) -> None:
        self.affinity = Affinity()
        self._slack = slack
        self.workers: dict[int, Worker] = {}
        self.generalists = Generalists()
        self._patterns = tuple(generalist_patterns)
        self._pools: dict[frozenset[str], Pool] = {}
        self._pools_of: dict[str, dict[frozenset[str], Pool]] = {}

    def enter(self, worker: Worker) -> None:
        """It takes, or will take, requests for its models."""
        if worker.draining:
            return
        if worker.models is None:
            if worker.starting is None:
                self.generalists.add(worker)
            return
        pool = self._pools.get(worker.models)
        if pool is None:
            pool = self._pools[worker.models] = Pool()
            for model in worker.models:
                self._pools_of.setdefault(model, {})[worker.models] = pool
        pool.add(worker)

    def leave(self, worker: Worker) -> None:
        """The opposite of `enter`; before any of its fields change."""
        pool = worker.pool
        if pool is None:
            return
        pool.drop(worker)
        if worker.models is None:
            return
        pool.wake()
        if not pool.members:
            del self._pools[worker.models]
            for model in worker.models:
                del self._pools_of[model][worker.models]
                if not self._pools_of[model]:
                    del self._pools_of[model]

    def rank(self, worker: Worker) -> None:
        """Its credits, or whatever else counts, have changed."""
        if worker.pool is not None:
            worker.pool.rank(worker)

    def pool_of(self, worker: Worker) -> Pool | None:
        """The one that it is in, or would be."""
        return self.generalists if worker.models is None else self._pools.get(worker.models)

    def began(self, worker: Worker, seconds: float) -> None:
        """A first token came so long after its job."""
        if pool := self.pool_of(worker):
            pool.began(worker, seconds)

    def has_stand_in(self, worker: Worker) -> bool:
        """Whether another worker like it is ready, and is not resting."""
        pool = self.pool_of(worker)
        others = pool.members.values() if pool else ()
        return any(one is not worker and one.starting is None and not one.health.resting for one in others)

    def choose(self, lane: Lane, prefixes: Sequence[int] = (), avoid: Collection[int] = ()) -> Worker | None:
        """Who takes a request of this lane now: one that knows its prompt's beginning, else the best.

        Those to `avoid` only if there is no other.
        """
        best, is_served = None, False
        for pool in self._pools_of.get(lane.model, _NO_POOLS).values():
            is_served = is_served or pool.ready > 0
            one = pool.best(lane, avoid)
            if best is None or (one is not None and _merit(one, avoid) > _merit(best, avoid)):
                best = one
        if not is_served:
            return self.generalists.best(lane, avoid) if self.matches(lane.model) else None
        return self._one_that_knows(lane, prefixes, avoid, best) if prefixes and best is not None else best

    def offered(self, lane: Lane) -> bool:
        """Whether a worker that is ready could take a request of this lane, if it had room."""
        if not self.is_served(lane.model):
            return not lane.needs and bool(self.generalists.members) and self.matches(lane.model)
        return any(one.starting is None and lane.needs <= one.offers for one in self.members(lane.model))

    def _one_that_knows(self, lane: Lane, prefixes: Sequence[int], avoid: Collection[int], best: Worker) -> Worker:
        for number in self.affinity.candidates(prefixes):
            one = self.workers[number]
            is_behind = len(one.entries) > len(best.entries) + self._slack
            if one.free and not is_behind and number not in avoid and one.serves(lane):
                return one
        return best

    def for_generalists(self, model: str) -> bool:
        """Whether generalists, if there are any, take requests for `model`."""
        return not self.is_served(model) and self.matches(model)

    def is_served(self, model: str) -> bool:
        """Whether a dedicated worker that is ready serves `model`."""
        for pool in self._pools_of.get(model, _NO_POOLS).values():  # noqa: SIM110 - for every decision; `any` takes twice as long
            if pool.ready:
                return True
        return False

    def matches(self, model: str) -> bool:
        """Whether generalists may serve `model`."""
        return any(fnmatchcase(model, pattern) for pattern in self._patterns)

    def serving(self, model: str) -> int:
        """How many dedicated workers are ready to serve `model`."""
        return sum(pool.ready for pool in self._pools_of.get(model, {}).values())

    def members(self, model: str) -> Iterable[Worker]:
        """The dedicated workers that serve `model`, and those that will when they are ready."""
        return (worker for pool in self._pools_of.get(model, {}).values() for worker in pool.members.values())

    @property
    def models(self) -> set[str]:
        """The models of all dedicated workers, ready or not."""
        return set(self._pools_of)

    def __contains__(self, model: str) -> bool:
        return model in self._pools_of


def _merit(worker: Worker, avoid: Collection[int]) -> tuple[bool, int]:
    """Of those that are best in their pools, the one with the greatest takes a request."""
    return worker.number not in avoid, worker.credits
