"""Limits over many replicas, against one replica that gets the same traffic: seeded, so each run is the same."""

import pytest
from key_replicas import Replicas, Traffic, even, one, uneven

from headrace_api.keys import KeyLimits

ACCURACY = 0.1
SPREADS = (even, uneven, one)


@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("replicas", [1, 2, 3, 5, 10])
@pytest.mark.parametrize("load", [0.8, 1.0, 1.5, 5.0])
def test_requests_per_minute_are_accurate_to_a_tenth(spread, replicas, load) -> None:
    limit, seed = 120, replicas
    limits, traffic = KeyLimits(requests_per_minute=limit), Traffic(spread(replicas, limit / 60 * load, seed))
    found = Replicas(replicas, limits, seed).run(traffic)
    ideal = Replicas(1, limits, seed, shared=False).run(traffic)
    assert found.requests == pytest.approx(ideal.requests, rel=ACCURACY)
    assert found.busiest_minute() <= limit * (1 + ACCURACY)


@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("replicas", [3, 10])
@pytest.mark.parametrize("load", [0.8, 2.0])
def test_tokens_per_minute_are_accurate_to_a_tenth(spread, replicas, load) -> None:
    limit, seed = 20_000, replicas
    traffic = Traffic(spread(replicas, limit / 100 / 60 * load, seed))
    limits = KeyLimits(tokens_per_minute=limit)
    found = Replicas(replicas, limits, seed).run(traffic)
    ideal = Replicas(1, limits, seed, shared=False).run(traffic)
    assert found.tokens == pytest.approx(ideal.tokens, rel=ACCURACY)


@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("replicas", [3, 10])
def test_requests_at_a_time_are_accurate_to_a_tenth(spread, replicas) -> None:
    limit, seed = 100, replicas
    traffic = Traffic(spread(replicas, 100, seed), seconds=3.0, length=60)
    limits = KeyLimits(concurrent_requests=limit)
    found = Replicas(replicas, limits, seed).run(traffic)
    ideal = Replicas(1, limits, seed, shared=False).run(traffic)
    assert found.requests == pytest.approx(ideal.requests, rel=ACCURACY)
    assert found.busiest <= limit * (1 + ACCURACY)


@pytest.mark.parametrize("replicas", [3, 10])
def test_a_day_is_accurate_to_a_tenth(replicas) -> None:
    limit, seed = 500, replicas
    traffic = Traffic(uneven(replicas, 10, seed), length=120)
    found = Replicas(replicas, KeyLimits(requests_per_day=limit), seed).run(traffic)
    assert found.requests == pytest.approx(limit, rel=ACCURACY)


def test_with_few_requests_the_error_is_less_than_one_per_replica() -> None:
    replicas, limit = 10, 10
    for seed in range(5):
        limits, traffic = KeyLimits(requests_per_minute=limit), Traffic(even(replicas, limit / 60 * 3, seed))
        found = Replicas(replicas, limits, seed).run(traffic)
        assert limit - replicas < found.busiest_minute() <= limit + replicas


def test_what_a_replica_held_goes_to_the_others_and_what_it_used_stays_used() -> None:
    replicas = Replicas(2, KeyLimits(requests_per_day=100), 0)
    traffic = Traffic([1.0, 1.0], length=30)
    assert 40 < replicas.run(traffic).requests < 80
    replicas.leave(1)
    traffic.rates, traffic.length = [5.0], 120
    assert replicas.run(traffic).requests in {100, 101, 102}  # what it used in its last second it could not tell


def test_at_rest_replicas_write_nothing() -> None:
    replicas = Replicas(3, KeyLimits(requests_per_minute=10), 0)
    replicas.run(Traffic([0.0] * 3, length=10))
    assert replicas.exchanges >= 29
    assert not replicas._rows
