"""The simulation itself: the operator's own policy decides, arrivals and workers are played. No clock but its own."""

import heapq
import itertools
from collections import deque
from dataclasses import dataclass, field

from headrace_api.inference_model import Autoscaling, InferenceModelSpec
from headrace_api.load import ModelLoad
from headrace_cli.simulation.fleet import Fleet
from headrace_cli.simulation.trace import Arrival, Trace
from headrace_operator.scaling.meter import Meter
from headrace_operator.scaling.policy import Memory, Sample, decide, interval, sampled


@dataclass(frozen=True)
class State:
    """How it stood at a time in seconds."""

    time: float
    desired: int
    ready: int
    queued: int
    running: int


@dataclass
class Outcome:
    """What happened."""

    seconds: float = 0.0
    """Until the last request was answered, at least as long as the trace."""
    waits: list[tuple[float, float]] = field(default_factory=list)
    """When each request came and how long it waited for a worker, in seconds."""
    states: list[State] = field(default_factory=list)
    """After every change."""
    decisions: list[tuple[float, int, str]] = field(default_factory=list)
    """When the number of replicas changed, to what, and the policy's reason."""
    worker_seconds: float = 0.0
    work_seconds: float = 0.0
    """All durations of requests together."""
    cold_starts: int = 0
    """How often workers were asked for when there were none."""


class Simulation:
    """One model under one trace."""

    def __init__(self, spec: InferenceModelSpec, trace: Trace, cold_start: float, slots: int) -> None:
        self._policy: Autoscaling | None = spec.deployment.autoscaling
        self._trace = trace
        self._cold_start = cold_start
        self._fleet = Fleet(slots)
        self._waiting: deque[Arrival] = deque()
        self._running = 0
        self._memory = Memory()
        self._meter = Meter(0.0)
        self._desired = spec.first_replicas
        self._events: list[tuple[float, int, str, int]] = []
        self._order = itertools.count()
        self._outcome = Outcome()

    def run(self) -> Outcome:
        """Play the trace to its end, and on until every request is answered.

        A fleet that can never answer (no replicas and no autoscaling) leaves its requests waiting.
        """
        for _ in range(self._desired):
            self._fleet.add(0.0, ready=True)  # a day does not begin with a cold start
        self._note(0.0)
        if self._policy:
            self._later(interval(self._policy), "count")
        arrivals = iter(self._trace.arrivals)
        coming = next(arrivals, None)
        now = 0.0
        while coming or self._is_unfinished(now):
            if coming and (not self._events or coming.time <= self._events[0][0]):
                now = coming.time
                self._arrive(coming)
                coming = next(arrivals, None)
            elif self._events:
                now, _, kind, worker = heapq.heappop(self._events)
                self._happen(now, kind, worker)
            else:
                break
            self._give(now)
            self._heard(now)
        return self._close(max(now, self._trace.seconds))

    def _is_unfinished(self, now: float) -> bool:
        return bool(self._waiting or self._running) or (bool(self._policy) and now < self._trace.seconds)

    def _later(self, time: float, kind: str, worker: int = -1) -> None:
        heapq.heappush(self._events, (time, next(self._order), kind, worker))

    def _arrive(self, arrival: Arrival) -> None:
        self._outcome.work_seconds += arrival.duration
        self._waiting.append(arrival)

    def _happen(self, now: float, kind: str, worker: int) -> None:
        if kind == "finished":
            self._running -= 1
            self._fleet.finish(worker, now)
        elif kind == "ready":
            if worker in self._fleet.workers:
                self._fleet.workers[worker].ready = True
        elif self._policy:
            sample = Sample(now, self._meter.mean(now))
            self._memory = sampled(self._policy, self._memory, self._desired, sample)
            self._scale(now, self._policy)
            self._later(now + interval(self._policy), "count")

    def _give(self, now: float) -> None:
        while self._waiting and (worker := self._fleet.free()):
            arrival = self._waiting.popleft()
            worker.jobs += 1
            self._running += 1
            self._outcome.waits.append((arrival.time, now - arrival.time))
            self._later(now + arrival.duration, "finished", worker.number)

    def _heard(self, now: float) -> None:
        """What the queue tells the operator after each change."""
        self._meter.hear(now, len(self._waiting) + self._running)
        if self._policy and self._waiting and not self._fleet.ready:
            self._scale(now, self._policy)
        self._note(now)

    def _scale(self, now: float, policy: Autoscaling) -> None:
        load = ModelLoad(queued=len(self._waiting), running=self._running, workers=len(self._fleet.ready))
        decision = decide(policy, self._memory, self._desired, now, load)
        self._memory = decision.memory
        if decision.replicas == self._desired:
            return
        if not self._desired:
            self._outcome.cold_starts += 1
        for _ in range(decision.replicas - self._desired):
            self._later(now + self._cold_start, "ready", self._fleet.add(now).number)
        self._fleet.take_away(now, max(0, self._desired - decision.replicas))
        self._desired = decision.replicas
        self._outcome.decisions.append((now, decision.replicas, decision.reason))

    def _note(self, now: float) -> None:
        state = State(now, self._desired, len(self._fleet.ready), len(self._waiting), self._running)
        states = self._outcome.states
        if states and states[-1].time == now:
            states[-1] = state
        elif not states or states[-1] != State(states[-1].time, *_numbers(state)):
            states.append(state)

    def _close(self, now: float) -> Outcome:
        self._fleet.close(now)
        self._outcome.waits += [(one.time, now - one.time) for one in self._waiting]
        self._outcome.seconds, self._outcome.worker_seconds = now, self._fleet.worker_seconds
        return self._outcome


def _numbers(state: State) -> tuple[int, int, int, int]:
    return state.desired, state.ready, state.queued, state.running
