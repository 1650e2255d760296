"""The policy: single decisions, properties that hold for every load, and the cases that its relatives got wrong."""

import math
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from headrace_api.inference_model import Autoscaling
from headrace_api.load import ModelLoad
from headrace_operator.scaling.policy import Memory, Sample, decide, interval, proposal, sampled

BASE = {
    "minReplicas": 0,
    "maxReplicas": 100,
    "targetOngoingRequestsPerReplica": 2,
    "metricsIntervalSeconds": 10,
    "lookBackPeriodSeconds": 30,
    "upscaleDelaySeconds": 30,
    "downscaleDelaySeconds": 60,
}


def policy(**changes):
    return Autoscaling.model_validate(BASE | changes)


class Line:
    """A model under a load that is given per interval."""

    def __init__(self, policy_, replicas=1):
        self.policy, self.replicas, self.now, self.memory = policy_, replicas, 0.0, Memory()

    def step(self, ongoing):
        """One interval with so many requests; None: the queue is away. Returns the replicas after it."""
        self.now += self.policy.metrics_interval_seconds
        load = None if ongoing is None else ModelLoad(running=math.ceil(ongoing), workers=self.replicas)
        if ongoing is not None:
            self.memory = sampled(self.policy, self.memory, self.replicas, Sample(self.now, ongoing))
        decision = decide(self.policy, self.memory, self.replicas, self.now, load)
        self.memory, self.replicas = decision.memory, decision.replicas
        return self.replicas

    def run(self, *ongoing):
        return [self.step(one) for one in ongoing]


@pytest.mark.parametrize(
    ("smoothing", "replicas", "ongoing", "expected"),
    [
        (1, 1, 20, 10),
        (1, 10, 20, 10),
        (1, 10, 20.1, 11),
        (1, 3, 0, 0),
        (0.6, 1, 20, 7),  # 1 x (1 + 0.6 x (20 / 1 / 2 - 1)) = 6.4
        (0.6, 10, 4, 6),  # 10 x (1 + 0.6 x (0.2 - 1)) = 5.2
        (0.6, 1, 0, 0),  # 0.4, rounded up, would be 1 for ever
        (0.1, 10, 0, 9),
        (0.1, 3, 2.4, 2),  # 2.82, rounded up, would be 3 for ever
        (0.1, 2, 2.4, 2),  # 1.2 replicas are needed: 2
        (2, 1, 20, 19),
        (2, 19, 20, 10),  # 1 by the formula, which is less than the load needs
        (0.1, 10, 26, 11),  # 10.3
        (0.7, 30, 60, 30),
        (1, 100, 1000, 100),
    ],
)
def test_the_formula(smoothing, replicas, ongoing, expected):
    assert proposal(policy(smoothingFactor=smoothing), replicas, ongoing) == expected


def test_smoothing_has_a_value_for_each_direction():
    each = policy(smoothingFactor=1, upscaleSmoothingFactor=0.5, downscaleSmoothingFactor=0.25)
    assert proposal(each, 4, 16) == 6
    assert proposal(each, 8, 8) == 7


def test_rounding_up_does_not_round_noise_up():
    for replicas in range(1, 50):
        for factor in (0.1, 0.3, 0.6, 0.7):
            assert proposal(policy(smoothingFactor=factor), replicas, replicas * 2) == replicas


def test_more_only_after_it_was_needed_for_the_whole_delay():
    line = Line(policy(), replicas=1)
    assert line.run(8, 8, 8) == [1, 1, 1]
    assert line.step(8) == 4


def test_a_short_burst_changes_nothing():
    line = Line(policy(upscaleDelaySeconds=60, lookBackPeriodSeconds=10), replicas=1)
    assert set(line.run(2, 50, 50, 2, 2, 50, 2, 2, 2, 2, 2, 2)) == {1}


def test_fewer_only_when_the_whole_delay_allows_it():
    """A lull that begins just before the end of the delay does not decide alone, as it does in Ray Serve."""
    line = Line(policy(lookBackPeriodSeconds=10), replicas=10)
    assert set(line.run(*[12] * 6)) == {10}
    assert line.step(0) == 6  # the most that was needed in the last 60 s, not 0
    assert line.run(0, 0, 0, 0, 0) == [6] * 5
    assert line.step(0) == 0


def test_back_to_zero_needs_the_look_back_and_the_delay():
    line = Line(policy(), replicas=1)
    line.run(1, 1)
    idle = [line.step(0) for _ in range(12)]
    assert idle.index(0) == (30 + 60) // 10 - 1


@pytest.mark.parametrize(("queued", "replicas"), [(1, 1), (2, 1), (3, 2), (40, 20), (1000, 100)])
def test_from_zero_straight_to_what_the_queue_needs(queued, replicas):
    decision = decide(policy(), Memory(), 0, 5.0, ModelLoad(queued=queued))
    assert decision.replicas == replicas
    assert f"{queued} request" in decision.reason
    assert f"0 -> {replicas}" in decision.reason


def test_what_comes_while_the_first_worker_starts_is_not_delayed_either():
    first = decide(policy(), Memory(), 0, 5.0, ModelLoad(queued=1))
    more = decide(policy(), first.memory, first.replicas, 5.1, ModelLoad(queued=40))
    assert (first.replicas, more.replicas) == (1, 20)
    served = decide(policy(), first.memory, first.replicas, 5.1, ModelLoad(queued=40, workers=1))
    assert served.replicas == 1, "with a worker there the delay counts"


def test_from_zero_is_not_taken_back_by_the_time_before():
    """Averages over the idle time before the step would call for fewer at once."""
    line = Line(policy(downscaleDelaySeconds=0), replicas=0)
    line.run(0, 0, 0)
    first = decide(line.policy, line.memory, 0, line.now, ModelLoad(queued=20))
    line.replicas, line.memory = first.replicas, first.memory
    assert (first.replicas, line.step(20)) == (10, 10)


def test_a_request_that_somebody_else_serves_does_not_start_a_worker_at_once():
    assert decide(policy(), Memory(), 0, 5.0, ModelLoad(running=1, workers=1)).replicas == 0


def test_nothing_to_go_on_changes_nothing():
    line = Line(policy(), replicas=5)
    assert set(line.run(*[None] * 100)) == {5}


def test_a_gap_begins_every_delay_anew():
    line = Line(policy(), replicas=5)
    assert line.run(*[0] * 6) == [5] * 6
    assert line.step(None) == 5
    assert line.run(*[0] * 6) == [5] * 6
    assert line.step(0) == 0


def test_a_queue_that_comes_and_goes_never_scales_down():
    line = Line(policy(), replicas=5)
    assert set(line.run(*[*[0] * 5, None] * 50)) == {5}


def test_bounds_hold_at_once_and_without_numbers():
    low, high = (decide(policy(minReplicas=2, maxReplicas=4), Memory(), n, 0.0, None) for n in (0, 9))
    assert (low.replicas, low.reason) == (2, "minReplicas is 2")
    assert (high.replicas, high.reason) == (4, "maxReplicas is 4")


def test_bounds_that_change_apply_to_what_was_proposed_before():
    line = Line(policy(), replicas=10)
    line.run(*[40] * 10)
    assert line.replicas == 20
    line.policy = policy(maxReplicas=15)
    assert line.run(40, 40, 40, 40, 40) == [15] * 5


def test_a_reason_has_the_numbers():
    line = Line(policy(), replicas=1)
    line.run(8, 8, 8)
    memory = sampled(line.policy, line.memory, 1, Sample(40.0, 8))
    decision = decide(line.policy, memory, 1, 40.0, ModelLoad(running=8))
    assert decision.reason == "8 requests on average over 30 s, target 2 per replica: 1 -> 4 after 30 s"


@pytest.mark.parametrize("smoothing", [0.1, 0.5, 1, 1.7, 2, 5, 10])
@pytest.mark.parametrize("ongoing", [0, 1, 7, 20, 41])
@pytest.mark.parametrize("begin", [1, 10, 60])
def test_a_steady_load_comes_to_rest(smoothing, ongoing, begin):
    """No smoothing factor makes it swing for ever: under a steady load the number ends where the load needs it."""
    line = Line(policy(smoothingFactor=smoothing, downscaleDelaySeconds=10, upscaleDelaySeconds=0), begin)
    line.run(*[ongoing] * 400)
    rest = line.run(*[ongoing] * 50)
    assert set(rest) == {math.ceil(ongoing / 2)}


@given(
    levels=st.lists(st.integers(0, 60), min_size=5, max_size=60),
    smoothing=st.sampled_from([0.3, 1, 2, 10]),
    begin=st.integers(0, 30),
)
@example(levels=[1, 2, 2, 2, 3], smoothing=2, begin=0)
def test_what_is_taken_away_was_not_needed_for_the_whole_delay(levels, smoothing, begin):
    line = Line(policy(smoothingFactor=smoothing, lookBackPeriodSeconds=10, downscaleDelaySeconds=30), begin)
    replicas = [begin, *line.run(*levels)]
    for at, (before, after) in enumerate(pairwise(replicas)):
        assert 0 <= after <= 100
        needs = [math.ceil(level / 2) for level in levels[max(0, at - 3) : at + 1]]
        if after < before:
            assert at >= 3, "a decision for fewer was made before its delay was over"
            assert after >= max(needs), "it was needed within the delay"
        if after > before:
            assert at >= 3
            proposed = [proposal(line.policy, replicas[one], levels[one]) for one in range(at - 3, at + 1)]
            assert after <= min(proposed), "it was not proposed all of the delay"
            # a factor above 1 may go on to where it was aiming from a smaller number
            assert smoothing > 1 or before < min(needs), "it was not needed all of the delay"


@given(st.lists(st.none() | st.floats(0, 500), max_size=80), st.integers(0, 100))
def test_asking_twice_gives_the_same_answer_and_memory_stays_small(levels, begin):
    line = Line(policy(), begin)
    for level in levels:
        line.step(level)
        load = ModelLoad(running=1, workers=1)
        again = decide(line.policy, line.memory, line.replicas, line.now, load)
        assert again.replicas == line.replicas
        assert len(line.memory.samples) <= 3
        assert len(line.memory.proposals) <= 8


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("targetOngoingRequestsPerReplica", 1e-320),
        ("smoothingFactor", 1e308),
        ("upscaleSmoothingFactor", 101),
        ("downscaleSmoothingFactor", 101),
        ("metricsIntervalSeconds", 1e-12),
        ("lookBackPeriodSeconds", 1e308),
        ("upscaleDelaySeconds", 1e9),
        ("downscaleDelaySeconds", 1e9),
        ("minReplicas", 10_001),
        ("maxReplicas", 10_001),
        ("initialReplicas", 10_001),
    ],
)
def test_what_cannot_be_calculated_with_is_no_policy(field, value):
    with pytest.raises(ValidationError, match=field):
        policy(**{field: value})


@pytest.mark.parametrize("smoothing", [0.5, 1e308, math.nan])
@pytest.mark.parametrize("ongoing", [0.0, 5.0, 1e308, math.inf])
def test_no_number_is_too_much_for_a_proposal(smoothing, ongoing):
    odd = policy().model_copy(update={"smoothing_factor": smoothing, "target_ongoing_requests_per_replica": 1e-320})
    assert 0 <= proposal(odd, 3, ongoing) <= 100
    if ongoing:
        assert proposal(odd, 3, ongoing) == 100


def test_a_long_look_back_has_a_bounded_number_of_samples():
    assert interval(policy(metricsIntervalSeconds=0.1, lookBackPeriodSeconds=604_800)) == 604.8
    assert interval(policy()) == 10
    assert interval(policy().model_copy(update={"metrics_interval_seconds": 1e-12})) == 0.1
