"""Workers that announce no model and load whatever they are asked for: which of them loads the fewest, and can.

A request goes to one that has served its model last. If none is free, it goes to one whose memory is enough, as far
as the model's name tells what is: of these to the one whose turn is longest ago, so that what is in use stays loaded.
If no memory is enough, to the largest: an engine may do with less than was thought.
"""

from collections.abc import Callable, Collection
from typing import TypeVar

from headrace_queue.schedule.memory import needed_mb
from headrace_queue.schedule.ranking import Ranking
from headrace_queue.schedule.shares import Lane
from headrace_queue.schedule.worker import Pool, Worker

_K = TypeVar("_K", int, str)


class Generalists(Pool):
    """Those that are free, by the model that they served last, and by the size of their memory."""

    def __init__(self) -> None:
        super().__init__()
        self._turn = 0
        self._last: dict[str, Ranking[Worker]] = {}
        self._sizes: dict[int, Ranking[Worker]] = {}
        """By the number of bits of their memory in MB, least recently used first: some twenty at most."""

    def serve(self, worker: Worker, model: str) -> None:
        """It gets a request."""
        self._forget(worker)
        self._turn += 1
        worker.served, worker.turn = model, self._turn

    def drop(self, worker: Worker) -> None:
        """It does not take requests any more."""
        super().drop(worker)
        self._forget(worker)

    def rank(self, worker: Worker) -> None:
        """Its credits, or whatever else counts, have changed."""
        if not worker.free:
            self._forget(worker)
            return
        self._sizes.setdefault(_size(worker), Ranking()).put(worker, (worker.turn, worker.memory_mb))
        if worker.served:
            self._last.setdefault(worker.served, Ranking()).put(worker, worker.turn)

    def best(self, lane: Lane, avoid: Collection[int] = ()) -> Worker | None:
        """Who takes a request of this lane now; those to `avoid` only if there is no other."""
        if lane.needs:
            return None
        found = self._best(lane.model, lambda one: one.number in avoid)
        return found or (self._best(lane.model, lambda _: False) if avoid else None)

    def _best(self, model: str, skip: Callable[[Worker], bool]) -> Worker | None:
        if (has := self._last.get(model)) and (one := has.first_but(skip)):
            return one
        need = needed_mb(model) or 0
        large = [each for each in self._sizes if each >= need.bit_length()]
        fits = [self._sizes[each].first_but(lambda one: one.memory_mb < need or skip(one)) for each in large]
        if found := [one for one in fits if one]:
            return min(found, key=lambda one: (one.turn, one.memory_mb))
        rest = (self._sizes[each].first_but(skip) for each in sorted(self._sizes, reverse=True))
        return next((one for one in rest if one), None)

    def _forget(self, worker: Worker) -> None:
        _drop(self._sizes, _size(worker), worker)
        _drop(self._last, worker.served, worker)


def _drop(index: dict[_K, Ranking[Worker]], key: _K, worker: Worker) -> None:
    ranking = index.get(key)
    if ranking is not None:
        ranking.drop(worker)
        if not ranking:
            del index[key]


def _size(worker: Worker) -> int:
    return worker.memory_mb.bit_length()
