"""One connected worker, and those that serve the same models."""

from collections.abc import Collection
from dataclasses import dataclass, field

from headrace_api.load import Starting
from headrace_queue.schedule.health import Health
from headrace_queue.schedule.ranking import Ranking
from headrace_queue.schedule.shares import Entry, Lane

_GAIN = 0.05
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
    memory_mb: int = 0
    """Of all its GPUs, as a generalist says; of others it is not asked."""
    served: str = ""
    """The model of a generalist's newest request: it has that loaded."""
    turn: int = 0
    """When that was; the greater, the later."""
    health: Health = field(default_factory=Health)
    pool: "Pool | None" = None
    """Where it is ranked; None while it takes nothing for good."""

    @property
    def free(self) -> bool:
        """Whether it takes a request now."""
        if self.credits <= 0 or self.starting is not None or self.health.resting:
            return False
        return not (self.health.probing and self.entries)

    def serves(self, lane: Lane) -> bool:
        """Whether it is dedicated to this lane's model, and may take its requests."""
        return self.models is not None and lane.model in self.models and self.fits(lane)

    def fits(self, lane: Lane) -> bool:
        """Whether it may take a request of this lane, of its models."""
        return lane.needs <= self.offers and not (lane.alone and self.suspects)


class Pool:
    """Workers that serve the same models, and those that will when they are ready."""

    def __init__(self) -> None:
        self.members: dict[int, Worker] = {}
        self.ready = 0
        self.first_token_s: float | None = None
        """From a job to its first token, on average of late."""
        self._kinds: dict[tuple[frozenset[str], bool], Ranking[Worker]] = {}

    def add(self, worker: Worker) -> None:
        """It serves, or is going to."""
        self.members[worker.number] = worker
        worker.pool = self
        self.ready += worker.starting is None
        self.rank(worker)

    def drop(self, worker: Worker) -> None:
        """It does not any more; `starting` is as it was."""
        del self.members[worker.number]
        worker.pool = None
        self.ready -= worker.starting is None
        for ranking in self._kinds.values():
            ranking.drop(worker)

    def wake(self) -> None:
        """Let those work that rest, if all do: better one that fails than none."""
        if all(one.health.resting or one.starting for one in self.members.values()):
            for one in self.members.values():
                one.health.try_again()
                self.rank(one)

    def rank(self, worker: Worker) -> None:
        """Its credits, or whatever else counts, have changed."""
        if not worker.free:
            for ranking in self._kinds.values():
                ranking.drop(worker)
            return
        rank = -self.score(worker)
        for (needs, alone), ranking in self._kinds.items():
            if needs <= worker.offers and not (alone and worker.suspects):
                ranking.put(worker, rank)
            else:
                ranking.drop(worker)

    def score(self, worker: Worker) -> float:
        """The one with the highest takes the next request: its free credits, which count for less if it is slow."""
        return worker.credits * worker.health.weight(self.first_token_s)

    def began(self, worker: Worker, seconds: float) -> None:
        """A first token came so long after its job."""
        before = seconds if self.first_token_s is None else self.first_token_s
        self.first_token_s = before + _GAIN * (seconds - before)
        worker.health.began(seconds)

    def best(self, lane: Lane, avoid: Collection[int] = ()) -> Worker | None:
        """Who takes a request of this lane now; those to `avoid` only if there is no other."""
        ranking = self._kinds.get((lane.needs, lane.alone))
        if ranking is None:
            ranking = self._rank_for(lane)
        first = ranking.first()
        if first is None or first.number not in avoid:
            return first
        return ranking.first_but(lambda one: one.number in avoid) or first

    def _rank_for(self, lane: Lane) -> Ranking[Worker]:
        if len(self._kinds) >= _MANY_KINDS:
            del self._kinds[next(iter(self._kinds))]
        ranking = self._kinds[lane.needs, lane.alone] = Ranking()
        for worker in self.members.values():
            if worker.free and worker.fits(lane):
                ranking.put(worker, -self.score(worker))
        return ranking
