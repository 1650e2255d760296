"""Which workers have seen the beginning of a prompt lately; in bounded memory."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator

_PER_WORKER = 1024
"""Beginnings remembered of a worker: more than an engine's cache holds."""
_PER_PREFIX = 4
"""Workers remembered for a beginning; what more have seen (one system prompt for everybody) all have."""


class Affinity:
    """Beginnings, by worker and the other way round."""

    def __init__(self, per_worker: int = _PER_WORKER) -> None:
        self._per_worker = per_worker
        self._workers: dict[int, OrderedDict[int, None]] = {}
        """Workers by beginning, the newest last."""
        self._prefixes: dict[int, OrderedDict[int, None]] = {}
        """Beginnings by worker, the newest last."""

    def note(self, worker: int, prefixes: Iterable[int]) -> None:
        """A worker was given a prompt that begins so."""
        known = self._prefixes.setdefault(worker, OrderedDict())
        for prefix in prefixes:
            known[prefix] = None
            known.move_to_end(prefix)
            workers = self._workers.setdefault(prefix, OrderedDict())
            workers[worker] = None
            workers.move_to_end(worker)
            if len(workers) > _PER_PREFIX:
                del self._prefixes[workers.popitem(last=False)[0]][prefix]
        while len(known) > self._per_worker:
            self._unlink(worker, known.popitem(last=False)[0])

    def forget(self, worker: int) -> None:
        """It is gone, or its engine was started anew."""
        for prefix in self._prefixes.pop(worker, ()):
            self._unlink(worker, prefix)

    def candidates(self, prefixes: Iterable[int]) -> Iterator[int]:
        """The workers that have seen the longest of these beginnings, then those of the next, each the newest first."""
        for prefix in reversed(tuple(prefixes)):
            if workers := self._workers.get(prefix):
                yield from reversed(workers)

    def _unlink(self, worker: int, prefix: int) -> None:
        workers = self._workers[prefix]
        del workers[worker]
        if not workers:
            del self._workers[prefix]
