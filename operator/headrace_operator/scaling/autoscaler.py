"""The autoscalers of all models: what each remembers, and when each looks again.

Numbers come from the queue as they change (`hear`); each model is counted at its own interval (`run`). Both say which
models should have another number: those are reconciled, and the reconcile asks `decide`, writes the answer into the
status, and then acts on it. What is remembered here is lost with the process; then delays begin anew, and nothing is
scaled down too early.
"""

import asyncio
import heapq
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import structlog

from headrace_api.inference_model import Autoscaling
from headrace_api.inference_model_status import ScalingStatus
from headrace_api.load import ModelLoad
from headrace_operator.kinds import key_of
from headrace_operator.observed import Key, Observed
from headrace_operator.scaling import decided
from headrace_operator.scaling.meter import Meter
from headrace_operator.scaling.policy import Memory, Sample, decide, interval, sampled
from headrace_operator.world import name_on_queue

_log = structlog.get_logger()

_UNSEEN_SECONDS = 0.05
"""How long a request may have taken that came and went between two messages of the queue, which are 0.1 s apart."""


@dataclass
class _Model:
    """One model that scales by itself."""

    policy: Autoscaling
    replicas: int
    load: ModelLoad | None = None
    """Its part of the numbers of its name."""
    meter: Meter | None = None
    """None while numbers are missing."""
    memory: Memory = field(default_factory=Memory)
    due: float | None = None
    """When it is counted next; None while it rests."""


class Autoscaler:
    """Decides for every model; `clock` gives seconds that only grow, `now` the time as RFC 3339."""

    def __init__(self, clock: Callable[[], float], now: Callable[[], str], queue_url: str) -> None:
        self._clock = clock
        self._now = now
        self._queue_url = queue_url
        self._models: dict[Key, _Model] = {}
        self._names: dict[Key, str] = {}
        """By which the queue knows the models that have workers; empty for models of other queues."""
        self._named: dict[str, set[Key]] = {}
        """The same the other way round: models of one name share its load."""
        self._load: Mapping[str, ModelLoad] = {}
        self._due: list[tuple[float, Key]] = []
        self._sooner = asyncio.Event()

    def decide(self, observed: Observed) -> ScalingStatus | None:
        """How many workers the model shall have, and who says so; None for a spec that cannot be read."""
        policy_ = decided.autoscaling(observed.model)
        if not _has_workers(observed, policy_):
            self.forget(key_of(observed.model))
            return decided.without_autoscaler(observed.model, self._now())
        self._join(key_of(observed.model), name_on_queue(observed.model, self._queue_url))
        if policy_ is None:
            self._models.pop(key_of(observed.model), None)
            return decided.without_autoscaler(observed.model, self._now())
        model = self._known(observed, policy_)
        model.replicas = decided.last_replicas(observed, policy_)
        decision = decide(policy_, model.memory, model.replicas, self._clock(), model.load)
        model.memory, model.replicas = decision.memory, decision.replicas
        if model.load and model.due is None and not _rests(model):
            self._count_at(key_of(observed.model), model, self._clock() + interval(policy_))
        return decided.by_autoscaler(observed.model, decision.replicas, decision.reason, self._now())

    def hear(self, load: Mapping[str, ModelLoad]) -> list[Key]:
        """Take the queue's newest numbers, by model name; whose name is not among them, has none.

        Returns the models that should have another number of workers at once.
        """
        changed = [name for name in {*self._load, *load} if self._load.get(name) != load.get(name)]
        self._load = load
        keys = [key for name in changed for key in self._scaled(name)]
        return [key for key in keys if self._changes(key, partial(self._take, key, self._models[key]))]

    def forget(self, key: Key) -> None:
        """The model is gone, or has no workers: it takes no part of the load any more."""
        self._models.pop(key, None)
        if (name := self._names.pop(key, None)) is None:
            return
        self._named[name].discard(key)
        self._share(name)
        if not self._named[name]:
            del self._named[name]

    async def run(self, wake: Callable[[Key], None]) -> None:
        """Count every model at its interval, and wake those that should have another number, until cancelled."""
        while True:
            self._sooner.clear()
            for key in self.count():
                wake(key)
            due = self.next_count
            with suppress(TimeoutError):
                async with asyncio.timeout(None if due is None else max(0.0, due - self._clock())):
                    await self._sooner.wait()

    @property
    def next_count(self) -> float | None:
        """When a model is due to be counted; None when all rest."""
        return self._due[0][0] if self._due else None

    def count(self) -> list[Key]:
        """Count the models that are due; returns those that should have another number of workers."""
        now = self._clock()
        found = []
        while self._due and self._due[0][0] <= now:
            due, key = heapq.heappop(self._due)
            model = self._models.get(key)
            if model and model.due == due:  # else it has another time by now
                model.due = None
                if self._changes(key, partial(self._count, key, model, now)):
                    found.append(key)
        return found

    def _known(self, observed: Observed, policy_: Autoscaling) -> _Model:
        key = key_of(observed.model)
        model = self._models.get(key)
        if model is None:
            model = self._models[key] = _Model(policy_, 0)
            self._take(key, model)
        elif model.policy != policy_:
            model.policy, model.due = policy_, None
            self._take(key, model)  # a model that rested by the old policy need not rest by this one
        return model

    def _join(self, key: Key, name: str) -> None:
        """Have the model share the load of its name."""
        if self._names.get(key) != name:
            self.forget(key)
            self._names[key] = name
            self._named.setdefault(name, set()).add(key)
            self._share(name)

    def _share(self, name: str) -> None:
        """Divide the load of a name anew."""
        if name in self._load:
            for key in self._scaled(name):
                self._take(key, self._models[key])

    def _scaled(self, name: str) -> list[Key]:
        return [key for key in self._named.get(name, ()) if key in self._models]

    def _take(self, key: Key, model: _Model) -> None:
        """Take the newest numbers for one model."""
        name = self._names[key]
        load, sharing = self._load.get(name), len(self._named[name])
        now, before, model.load = self._clock(), model.load, _part(load, sharing)
        if load is None:
            model.memory, model.meter, model.due = Memory(), None, None
            return
        ongoing = (load.queued + load.running) / sharing
        if model.meter is None or model.due is None:
            model.meter = Meter(now, ongoing)
            self._count_at(key, model, now + interval(model.policy))
        model.meter.hear(now, ongoing)
        if before and not ongoing and not before.queued + before.running:
            model.meter.add(_UNSEEN_SECONDS * max(0, load.taken - before.taken) / sharing)

    def _count(self, key: Key, model: _Model, now: float) -> None:
        if model.meter is None:
            return
        sample = Sample(now, model.meter.mean(now))
        model.memory = sampled(model.policy, model.memory, model.replicas, sample)
        if not _rests(model):
            self._count_at(key, model, now + interval(model.policy))

    def _count_at(self, key: Key, model: _Model, time: float) -> None:
        model.due = time
        heapq.heappush(self._due, (time, key))
        self._sooner.set()

    def _changes(self, key: Key, look: Callable[[], None]) -> bool:
        """Whether the model should have another number after `look`; one that fails must not stop the others."""
        try:
            look()
            return self._should_change(key)
        except Exception:  # noqa: BLE001  # logged, and nothing is scaled by it
            _log.exception("a model cannot be scaled by these numbers", namespace=key[0], model=key[1])
            return False

    def _should_change(self, key: Key) -> bool:
        model = self._models[key]
        decision = decide(model.policy, model.memory, model.replicas, self._clock(), model.load)
        return decision.replicas != model.replicas


def _has_workers(observed: Observed, policy_: Autoscaling | None) -> bool:
    spec = observed.model.get("spec") or {}
    return spec.get("enabled") is not False and (policy_ is not None or spec.get("replicas") != 0)


def _part(load: ModelLoad | None, sharing: int) -> ModelLoad | None:
    """What falls to one of so many models; a request that cannot be divided falls to each of them."""
    if load is None or sharing == 1:
        return load
    return load.model_copy(update={name: math.ceil(getattr(load, name) / sharing) for name in ("queued", "running")})


def _rests(model: _Model) -> bool:
    """Whether counting on would change nothing until another number comes."""
    memory = model.memory
    idle = model.meter is not None and not model.meter.level and not any(one.ongoing for one in memory.samples)
    return idle and [one.replicas for one in memory.proposals] == [model.replicas]
