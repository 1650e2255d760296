"""Which waiting request goes to which worker: decisions only, with no clock, socket or task.

A request is a `ticket`: a number that grows with arrival. Within a model the oldest ticket goes first; a ticket that
comes back from a worker keeps its number and so stands in front again. Among a model's workers the one with the most
free credits takes it. A generalist (a worker of the seed's protocol, which announces no model) takes only requests
for models that match the patterns and that no dedicated worker serves at the time: an answer never comes from an
unknown model while the right one is there. A worker that is not ready yet is told of, but serves nothing: what waits
for its models is held, or goes to others.
"""

import heapq
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from headrace_api.load import ModelLoad, Starting


@dataclass
class _Worker:
    models: frozenset[str] | None
    """None for a generalist."""
    name: str = ""
    """What it calls itself; several may have one name."""
    starting: Starting | None = None
    """How far it is; None once it is ready."""
    note: str = ""
    """What it says is amiss although it is ready."""
    draining: bool = False
    credits: int = 0
    tickets: set[int] = field(default_factory=set)


_Index = dict[str, dict[int, _Worker]]
"""Workers by model and number."""


class Schedule:
    """The waiting and the running tickets, and the workers' credits."""

    def __init__(self, generalist_patterns: Sequence[str] = ("*",)) -> None:
        self._patterns = tuple(generalist_patterns)
        self._workers: dict[int, _Worker] = {}
        self._announced: _Index = {}
        """The dedicated workers that serve a model, and those that will when they are ready."""
        self._serving: _Index = {}
        self._generalists: dict[int, _Worker] = {}
        self._waiting: dict[str, list[int]] = {}
        self._model: dict[int, str] = {}
        self._holder: dict[int, int] = {}
        self._taken: dict[str, int] = {}
        """Only of models that `load` told of last: clients may ask for any number of others."""

    def add(self, worker: int, models: Iterable[str] | None, name: str = "", starting: Starting | None = None) -> None:
        """Let a worker in, without credits; `models` is None for a generalist, `starting` for one that is ready."""
        self._workers[worker] = entry = _Worker(None if models is None else frozenset(models), name, starting)
        self._enter(worker, entry)

    def report(self, worker: int, starting: Starting | None, note: str = "") -> bool:
        """How far a worker is, None for ready; and `note`, what is amiss with one that is.

        Returns whether it was ready and is not any more: then it has no credits, and others may take its place.
        """
        entry = self._workers[worker]
        before, entry.starting, entry.note = entry.starting, starting, note
        if (before is None) == (starting is None):
            return False
        entry.credits = 0
        self._leave(worker, entry)
        self._enter(worker, entry)
        return starting is not None

    def replace_models(self, worker: int, models: Iterable[str]) -> None:
        """A dedicated worker answers to these from now on; what it has of others, it keeps."""
        entry = self._workers[worker]
        self._leave(worker, entry)
        entry.models = frozenset(models)
        self._enter(worker, entry)

    def drain(self, worker: int) -> None:
        """Give this worker nothing more; what it has, it keeps."""
        entry = self._workers[worker]
        self._leave(worker, entry)
        entry.credits, entry.draining = 0, True

    def _enter(self, worker: int, entry: _Worker) -> None:
        if entry.draining:
            return
        for index in (self._announced,) if entry.starting else (self._announced, self._serving):
            for model in entry.models or ():
                index.setdefault(model, {})[worker] = entry
        if entry.models is None and not entry.starting:
            self._generalists[worker] = entry

    def _leave(self, worker: int, entry: _Worker) -> None:
        self._generalists.pop(worker, None)
        for index in (self._announced, self._serving):
            for model in entry.models or ():
                peers = index.get(model, {})
                peers.pop(worker, None)
                if not peers:
                    index.pop(model, None)

    def remove(self, worker: int) -> None:
        """Forget a worker; the tickets that it had wait again, at their old places."""
        self.drain(worker)
        for ticket in self._workers[worker].tickets.copy():
            self.give_back(ticket)
        del self._workers[worker]

    def grant(self, worker: int, credits_: int) -> None:
        """The worker can take so many more, so it is ready; a draining worker's credits count for nothing."""
        entry = self._workers[worker]
        if entry.draining:
            return
        if entry.starting:
            self.report(worker, None)
        entry.credits += credits_

    def take_back(self, worker: int, credits_: int) -> int:
        """The worker wants so many unused credits back; returns how many it gets."""
        entry = self._workers[worker]
        taken = min(entry.credits, credits_)
        entry.credits -= taken
        return taken

    def waits(self) -> Iterator[tuple[str, int, int]]:
        """Every model that has requests waiting: its name, how many, and the oldest ticket."""
        return ((model, len(queue), queue[0]) for model, queue in self._waiting.items())

    def serving(self, model: str) -> Sequence[int]:
        """The dedicated workers that take requests for `model`."""
        return tuple(self._serving.get(model, ()))

    def enqueue(self, ticket: int, model: str) -> None:
        """A request waits."""
        if ticket not in self._model and model in self._taken:
            self._taken[model] += 1
        self._model[ticket] = model
        insort(self._waiting.setdefault(model, []), ticket)

    def give_back(self, ticket: int) -> None:
        """A running ticket waits again, at its old place."""
        self._workers[self._holder.pop(ticket)].tickets.discard(ticket)
        self.enqueue(ticket, self._model[ticket])

    def withdraw(self, ticket: int) -> None:
        """Forget a ticket, waiting or running: it is answered, or its client has left."""
        model = self._model.pop(ticket)
        holder = self._holder.pop(ticket, None)
        if holder is not None:
            self._workers[holder].tickets.discard(ticket)
            return
        queue = self._waiting[model]
        del queue[bisect_left(queue, ticket)]
        if not queue:
            del self._waiting[model]

    def decide(self, models: Iterable[str] | None = None) -> Iterator[tuple[int, int]]:
        """Hand out `(ticket, worker)`, oldest first, until nothing fits; only among `models` if they are given."""
        names = list(self._waiting) if models is None else [model for model in models if model in self._waiting]
        heads = [(self._waiting[model][0], model) for model in names]
        heapq.heapify(heads)
        while heads:
            ticket, model = heapq.heappop(heads)
            worker = self._choose(model)
            if worker is None:
                continue
            self._hand_out(ticket, worker)
            if model in self._waiting:
                heapq.heappush(heads, (self._waiting[model][0], model))
            yield ticket, worker

    def free(self, model: str) -> bool:
        """Whether a request for `model` would be taken at once."""
        return model not in self._waiting and self._choose(model) is not None

    def serves(self, model: str) -> bool:
        """Whether a connected worker takes requests for `model`, or will when it is ready."""
        return self.has_dedicated(model) or bool(self._generalists and self._matches(model))

    def models_of(self, worker: int) -> frozenset[str] | None:
        """The models that a worker is dedicated to; None for a generalist."""
        return self._workers[worker].models

    def dedicated(self) -> set[str]:
        """The models that dedicated workers serve, or will when they are ready."""
        return set(self._announced)

    def has_dedicated(self, model: str) -> bool:
        """Whether a dedicated worker takes requests for `model`, or will when it is ready."""
        return model in self._announced

    def starting(self, model: str) -> list[Starting]:
        """How far the workers are that will serve `model`."""
        return [entry.starting for entry in self._announced.get(model, {}).values() if entry.starting]

    @property
    def generalists(self) -> int:
        """How many generalists take work."""
        return len(self._generalists)

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return len(self._model) - len(self._holder)

    @property
    def running(self) -> int:
        """How many requests workers have."""
        return len(self._holder)

    def load(self, models: Iterable[str] = ()) -> dict[str, ModelLoad]:
        """The load of `models` and of all others that have requests; `workers` counts dedicated ones."""
        running = Counter(self._model[ticket] for ticket in self._holder)
        in_flight, starting, notes = self._in_flight(), self._starting(), self._notes()
        names = sorted({*models, *self._waiting, *running})
        self._taken = {model: self._taken.get(model, 0) for model in names}
        return {
            model: ModelLoad(
                queued=len(self._waiting.get(model, ())),
                running=running[model],
                workers=len(self._serving.get(model, ())),
                starting=starting.get(model, {}),
                notes=notes.get(model, {}),
                in_flight=in_flight.get(model, {}),
                taken=self._taken[model],
            )
            for model in names
        }

    def _in_flight(self) -> dict[str, dict[str, int]]:
        """Requests per dedicated worker that has any, by model and by the worker's name; also of those that drain."""
        found: dict[str, dict[str, int]] = {}
        for entry in self._workers.values():
            for model in entry.models or () if entry.tickets else ():
                names = found.setdefault(model, {})
                names[entry.name] = names.get(entry.name, 0) + len(entry.tickets)
        return found

    def _starting(self) -> dict[str, dict[str, Starting]]:
        found: dict[str, dict[str, Starting]] = {}
        for entry in self._workers.values():
            if entry.starting and (entry.starting.state == "failed" or not entry.draining):  # a failed one says why
                for model in entry.models or ():
                    found.setdefault(model, {})[entry.name] = entry.starting
        return found

    def _notes(self) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = {}
        for entry in self._workers.values():
            if entry.note and not entry.draining:
                for model in entry.models or ():
                    found.setdefault(model, {})[entry.name] = entry.note
        return found

    def _matches(self, model: str) -> bool:
        return any(fnmatchcase(model, pattern) for pattern in self._patterns)

    def _choose(self, model: str) -> int | None:
        candidates = self._serving.get(model)
        if candidates is None:
            candidates = self._generalists if self._generalists and self._matches(model) else {}
        best = max(candidates, key=lambda worker: candidates[worker].credits, default=None)
        return best if best is not None and candidates[best].credits > 0 else None

    def _hand_out(self, ticket: int, worker: int) -> None:
        model = self._model[ticket]
        queue = self._waiting[model]
        del queue[0]
        if not queue:
            del self._waiting[model]
        self._holder[ticket] = worker
        entry = self._workers[worker]
        entry.credits -= 1
        entry.tickets.add(ticket)
