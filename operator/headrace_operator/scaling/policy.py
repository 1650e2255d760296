"""How many replicas, as Ray Serve's policy decides it: pure, the time is an argument.

Every metricsIntervalSeconds the requests that wait or run are counted, and the average over lookBackPeriodSeconds makes
a proposal: `replicas x (1 + smoothing x (ongoing / replicas / target - 1))`, rounded up, within minReplicas and
maxReplicas. What has been proposed since upscaleDelaySeconds ago is what may be scaled up to: the least of it. What has
been proposed since downscaleDelaySeconds ago is what may be scaled down to: the most of it.

Where this differs from Ray Serve, its users had asked for it:

- Replicas are those that were asked for, not those that are ready already, or a slow start would be asked for twice.
- Delays are seconds of a clock, not rounds of a loop, and the numbers of the whole delay count, not only the last one:
  a lull at the end of a delay takes nothing away that the minutes before needed.
- A smoothing factor below 1, rounded up, would never let the last replicas go: then one goes at a time. One above 1
  would take away more than the load allows, and oscillate: a proposal for fewer is never for fewer than the load needs.
- A model without workers gets what its queue needs at once, not one replica first.
- Numbers that are missing are not zeros: nothing is decided, and every delay begins anew.
"""

import math
from dataclasses import dataclass

from headrace_api.inference_model import Autoscaling
from headrace_api.load import ModelLoad

_ROUNDING = 1e-9
"""What floating point may add to a whole number, so that rounding up does not make one replica of it."""
_LEAST_INTERVAL = 0.1
"""Seconds: the queue says nothing more often."""
_MOST_SAMPLES = 1000
_MOST_PROPOSALS = 10_000


@dataclass(frozen=True)
class Sample:
    """Requests, waiting and running, on average over one metrics interval that ended at `time` (seconds)."""

    time: float
    ongoing: float


@dataclass(frozen=True)
class Proposal:
    """What the policy would have, from `time` on (seconds)."""

    time: float
    replicas: int


@dataclass(frozen=True)
class Memory:
    """What decisions go on from; empty at the start, and after numbers were missing."""

    samples: tuple[Sample, ...] = ()
    """Those of the look-back period, oldest first."""
    proposals: tuple[Proposal, ...] = ()
    """Where the proposal changed, oldest first; the oldest one was in force when the longer delay began."""


@dataclass(frozen=True)
class Decision:
    """How many replicas from now on."""

    replicas: int
    reason: str
    """Why the number changed, with the numbers that it came from; empty when it did not change."""
    memory: Memory


def sampled(policy: Autoscaling, memory: Memory, replicas: int, sample: Sample) -> Memory:
    """Take in a sample: what is remembered, with the proposal that follows from it."""
    began = sample.time - policy.look_back_period_seconds
    samples = (*(one for one in memory.samples if one.time > began + _ROUNDING), sample)
    wanted = proposal(policy, replicas, _average(samples))
    proposals = memory.proposals
    if not proposals or proposals[-1].replicas != wanted:
        proposals = (*proposals, Proposal(sample.time, wanted))
    oldest = sample.time - max(policy.upscale_delay_seconds, policy.downscale_delay_seconds)
    return Memory(samples, _since(proposals, oldest) or proposals)


def interval(policy: Autoscaling) -> float:
    """How often requests are counted, in seconds: no more often than what is remembered stays bounded with."""
    samples = policy.look_back_period_seconds / _MOST_SAMPLES
    proposals = max(policy.upscale_delay_seconds, policy.downscale_delay_seconds) / _MOST_PROPOSALS
    return max(policy.metrics_interval_seconds, _LEAST_INTERVAL, samples, proposals)


def proposal(policy: Autoscaling, replicas: int, ongoing: float) -> int:
    """What `replicas` should become for so many ongoing requests, delays left aside."""
    need = ongoing / policy.target_ongoing_requests_per_replica
    smoothing = _smoothing(policy, up=need > replicas)
    # the formula above, which also holds for no replicas
    wanted = _up(policy, replicas + smoothing * (need - replicas))
    if need <= replicas:
        wanted = max(wanted, _up(policy, need))
        if wanted == replicas and _up(policy, need) < replicas:
            wanted -= 1
    return _clamp(policy, wanted)


def decide(policy: Autoscaling, memory: Memory, replicas: int, now: float, load: ModelLoad | None) -> Decision:
    """Decide at `now` (seconds); asking again without a new sample or another load gives the same answer.

    Args:
        policy: the model's `spec.deployment.autoscaling`.
        memory: what `sampled` made of the samples so far.
        replicas: how many were asked for last.
        now: the same clock as that of the samples.
        load: the newest numbers of the queue; None when they are missing.
    """
    bounded = _clamp(policy, replicas)
    if bounded != replicas:
        bound = "minReplicas" if bounded > replicas else "maxReplicas"
        return Decision(bounded, f"{bound} is {bounded}", memory)
    if load is None:
        return Decision(replicas, "", Memory())
    if (first := _first_workers(policy, replicas, load)) > replicas:
        waiting = _requests(load.queued)
        reason = f"{waiting} waiting and no worker: {replicas} -> {first} at once{_target(policy)}"
        return Decision(first, reason, Memory(proposals=(Proposal(now, first),)))
    held = _held(policy, memory, replicas, now)
    if held == replicas:
        return Decision(replicas, "", memory)
    delay = policy.upscale_delay_seconds if held > replicas else policy.downscale_delay_seconds
    average = f"{_average(memory.samples):.3g} requests on average over {policy.look_back_period_seconds:g} s"
    return Decision(held, f"{average}{_target(policy)}: {replicas} -> {held} after {delay:g} s", memory)


def _first_workers(policy: Autoscaling, replicas: int, load: ModelLoad) -> int:
    """What a queue needs that no worker takes anything from; 0 when that is not so."""
    if not load.queued or (replicas and load.workers):
        return 0
    need = (load.queued + load.running) / policy.target_ongoing_requests_per_replica
    return _clamp(policy, max(1, _up(policy, need)))


def _held(policy: Autoscaling, memory: Memory, replicas: int, now: float) -> int:
    """What was proposed for as long as its delay; `replicas` when neither more nor fewer was."""
    more = _since(memory.proposals, now - policy.upscale_delay_seconds)
    if more and (least := min(one.replicas for one in more)) > replicas:
        return _clamp(policy, least)
    fewer = _since(memory.proposals, now - policy.downscale_delay_seconds)
    if fewer and (most := max(one.replicas for one in fewer)) < replicas:
        return _clamp(policy, most)
    return replicas


def _since(proposals: tuple[Proposal, ...], time: float) -> tuple[Proposal, ...]:
    """The proposals that were in force from `time` on; none when what was in force then is not remembered."""
    before = [index for index, one in enumerate(proposals) if one.time <= time + _ROUNDING]
    return proposals[before[-1] :] if before else ()


def _smoothing(policy: Autoscaling, *, up: bool) -> float:
    own = policy.upscale_smoothing_factor if up else policy.downscale_smoothing_factor
    return policy.smoothing_factor if own is None else own


def _average(samples: tuple[Sample, ...]) -> float:
    return sum(one.ongoing for one in samples) / len(samples) if samples else 0.0


def _up(policy: Autoscaling, number: float) -> int:
    """Rounded up, from 0 to maxReplicas, which is also taken for what is no finite number."""
    bounded = min(float(policy.max_replicas), number - _ROUNDING)  # this order: NaN is not less than anything
    return math.ceil(max(0.0, bounded))


def _clamp(policy: Autoscaling, replicas: int) -> int:
    return max(policy.min_replicas, min(policy.max_replicas, replicas))


def _requests(number: int) -> str:
    return f"{number} request{'' if number == 1 else 's'}"


def _target(policy: Autoscaling) -> str:
    return f", target {policy.target_ongoing_requests_per_replica:g} per replica"
