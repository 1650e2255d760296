"""The workers, and which of them takes a request.

Workers that serve the same models are a `Pool`, so that one which has hundreds of adapters is ranked once. Of a pool's
workers the one with the most free credits is taken.

A generalist (a worker of the seed's protocol, which announces no model) takes only requests for models that match the
patterns and that no dedicated worker serves at the time: an answer never comes from an unknown model while the right
one is there. A worker that is not ready yet is told of, but serves nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from headrace_api.load import Starting
from headrace_queue.schedule.ranking import Ranking
from headrace_queue.schedule.shares import Entry, Lane

_MANY_KINDS = 64
"""Kinds of request that a pool keeps its workers ranked for; what is asked for beyond, it ranks anew."""


@dataclass(slots=True, eq=False)
class Worker:
    """One that is connected."""

    number: int
    models: frozenset[str] | None
    """None for a generalist."""
    name: str = ""
    """What it calls itself; several may have one name."""
    starting: Starting | None = None
    """How far it is; None once it is ready."""
    offers: frozenset[str] = frozenset()
    """What lanes may need."""
    note: str = ""
    """What it says is amiss although it is ready."""
    draining: bool = False
    credits: int = 0
    entries: dict[int, Entry] = field(default_factory=dict)
    """What it has, by ticket."""
    suspects: int = 0
    """How many of those are suspected of killing engines."""

    @property
    def free(self) -> bool:
        """Whether it takes a request now."""
        return self.credits > 0 and self.starting is None

    def fits(self, lane: Lane) -> bool:
        """Whether it may take a request of this lane, of its models."""
        return lane.needs <= self.offers and not (lane.alone and self.suspects)


class Pool:
    """Workers that serve the same models, and those that will when they are ready."""

    def __init__(self) -> None:
        self.members: dict[int, Worker] = {}
        self.ready = 0
        self._kinds: dict[tuple[frozenset[str], bool], Ranking[Worker]] = {}

    def add(self, worker: Worker) -> None:
        """It serves, or is going to."""
        self.members[worker.number] = worker
        self.ready += worker.starting is None
        self.rank(worker)

    def drop(self, worker: Worker) -> None:
        """It does not any more; `starting` is as it was."""
        if self.members.pop(worker.number, None) is None:
            return
        self.ready -= worker.starting is None
        for ranking in self._kinds.values():
            ranking.drop(worker)

    def rank(self, worker: Worker) -> None:
        """Its credits, or whatever else counts, have changed."""
        for (needs, alone), ranking in self._kinds.items():
            if worker.free and needs <= worker.offers and not (alone and worker.suspects):
                ranking.put(worker, -worker.credits)
            else:
                ranking.drop(worker)

    def best(self, lane: Lane) -> Worker | None:
        """Who takes a request of this lane now."""
        ranking = self._kinds.get((lane.needs, lane.alone))
        return (self._rank_for(lane) if ranking is None else ranking).first()

    def _rank_for(self, lane: Lane) -> Ranking[Worker]:
        if len(self._kinds) >= _MANY_KINDS:
            del self._kinds[next(iter(self._kinds))]
        ranking = self._kinds[lane.needs, lane.alone] = Ranking()
        for worker in self.members.values():
            if worker.free and worker.fits(lane):
                ranking.put(worker, -worker.credits)
        return ranking


class Workforce:
    """All workers, by the models that they serve."""

    def __init__(self, generalist_patterns: Sequence[str]) -> None:
        self.workers: dict[int, Worker] = {}
        self.generalists = Pool()
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
        self.generalists.drop(worker)
        pool = self._pools.get(worker.models) if worker.models is not None else None
        if pool is None or worker.models is None or worker.number not in pool.members:
            return
        pool.drop(worker)
        if not pool.members:
            del self._pools[worker.models]
            for model in worker.models:
                del self._pools_of[model][worker.models]
                if not self._pools_of[model]:
                    del self._pools_of[model]

    def rank(self, worker: Worker) -> None:
        """Its credits, or whatever else counts, have changed."""
        pool = self.generalists if worker.models is None else self._pools.get(worker.models)
        if pool is not None and worker.number in pool.members:
            pool.rank(worker)

    def choose(self, lane: Lane) -> Worker | None:
        """Who takes a request of this lane now."""
        if not self.is_served(lane.model):
            return self.generalists.best(lane) if self.for_generalists(lane.model) else None
        found = [best for pool in self._pools_of[lane.model].values() if (best := pool.best(lane))]
        return max(found, key=lambda worker: worker.credits, default=None)

    def for_generalists(self, model: str) -> bool:
        """Whether generalists, if there are any, take requests for `model`."""
        return not self.is_served(model) and self.matches(model)

    def is_served(self, model: str) -> bool:
        """Whether a dedicated worker that is ready serves `model`."""
        for pool in self._pools_of.get(model, {}).values():  # noqa: SIM110 - for every decision; `any` takes twice as long
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
