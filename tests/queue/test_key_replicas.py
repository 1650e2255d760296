"""Limits over many replicas, against one replica that gets the same traffic: seeded, so each run is the same."""

import pytest
from key_replicas import START, Replicas, Traffic, even, one, uneven

from headrace_api.keys import KeyInfo, KeyLimits
from headrace_queue.errors import ApiError
from headrace_queue.exchange import Call
from headrace_queue.keys.access import KeyAccess
from headrace_queue.keys.counters import DAY
from headrace_queue.keys.digests import digest
from headrace_queue.keys.keyring import Key, Keyring, Secret
from headrace_queue.keys.meter import Kind, Meter, Taken
from headrace_queue.keys.shares import LIVE_SECONDS, Claim, Row, Sharing

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


def bursts(meter: Meter, wanted: int, now: float) -> int:
    """How many of so many requests at once are admitted."""
    return sum(isinstance(meter.admit(1, now), Taken) for _ in range(wanted))


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("limit", [20, 60, 120, 600])
def test_a_replica_that_was_killed_finds_what_it_did_not_use(limit, alone) -> None:
    limits = KeyLimits(requests_per_minute=limit, requests_per_day=2 * limit, concurrent_requests=limit)
    replicas = Replicas(1, limits, 0, alone=alone)
    traffic = Traffic([limit / 240], length=10)
    before = replicas.run(traffic).requests
    assert 0 < before < limit / 8
    replicas.leave(0)
    traffic.length = 11
    replicas.run(traffic)
    replicas.restart(0)
    traffic.rates, traffic.length = [limit / 30], 20  # the table has not missed the one that was killed before
    outcome = replicas.run(traffic)
    assert outcome.requests - before == outcome.asked - before > limit / 10


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("replicas", [1, 2, 3])
@pytest.mark.parametrize("load", [0.5, 1.0, 5.0])
def test_with_one_that_was_killed_and_started_again_no_minute_has_a_tenth_too_much(
    spread, replicas, load, seed
) -> None:
    limit = 600
    found = Replicas(replicas, KeyLimits(requests_per_minute=limit), seed)
    traffic = Traffic(spread(replicas, limit / 60 * load, seed), length=20)
    found.run(traffic)
    found.leave(0)
    traffic.length = 21.5
    found.run(traffic)
    found.restart(0)
    traffic.length = 150
    assert found.run(traffic).busiest_minute() <= limit * (1 + ACCURACY)


@pytest.mark.parametrize("alone", [False, True])
def test_one_replica_alone_admits_all_of_a_limit_at_once(alone) -> None:
    replicas = Replicas(1, KeyLimits(requests_per_minute=600), 0, alone=alone)
    before = replicas.run(Traffic([1.0], length=10)).requests
    assert bursts(replicas.meters[0], 700, START + 10) == 600 - before


def test_who_joins_one_that_was_alone_and_is_in_a_burst_takes_a_tenth_too_much_at_most() -> None:
    limit = 600
    replicas = Replicas(2, KeyLimits(requests_per_minute=limit), 0)
    replicas.leave(1)
    traffic = Traffic([1.0, 0.0], length=20)
    replicas.run(traffic)
    replicas.restart(1)
    traffic.rates, traffic.length = [50.0, 50.0], 100
    assert replicas.run(traffic).busiest_minute() <= limit * (1 + ACCURACY)


def test_what_a_replica_used_that_has_left_counts_for_a_whole_minute() -> None:
    sharing, left = Sharing("one"), START
    row = Row("two", "k", int(START) // DAY, {Kind.REQUESTS_PER_MINUTE: Claim(90.0, 90.0)})
    sharing.table.take_in([row], {"one": START, "two": left - LIVE_SECONDS})  # as `ShareTable.leave` has it
    assert sharing.table.of("k", Kind.REQUESTS_PER_MINUTE, "one", left + 59).used == 90
    assert sharing.table.of("k", Kind.REQUESTS_PER_MINUTE, "one", left + 61).used == 0


def test_a_key_that_rests_is_forgotten_and_welcomed_anew() -> None:
    now = START
    sharing = Sharing("1")
    access = KeyAccess(sharing, lambda: now)
    limits = KeyLimits(requests_per_minute=60)
    secret = Secret(digest("a-secret-of-20-characters"))
    access.replace(Keyring([Key(KeyInfo(id="k", source="file"), [secret], limits)]), closed=True)
    sharing.table.take_in([], {"1": now, "2": now})
    call = Call("1", "m", "/v1/chat/completions", b"{}")
    admission = access.caller("Bearer a-secret-of-20-characters").admit(call)
    for now in (START + 1, START + 59):
        assert sharing.propose(access.meters(), now).idle == []
    admission.settle(None, worked=False)
    now = START + 120
    sharing.table.take_in([], {"1": now, "2": now})
    proposal = sharing.propose(access.meters(), now)
    access.rest(proposal.idle)
    sharing.accept(proposal)
    assert access.meters() == {}
    row = Row("2", "k", 0, {Kind.REQUESTS_PER_MINUTE: Claim(60, 60)})  # another replica has taken everything meanwhile
    sharing.table.take_in([row], {"1": now, "2": now})
    with pytest.raises(ApiError, match="requests per minute"):
        access.caller("Bearer a-secret-of-20-characters").admit(call)
    assert list(access.meters()) == ["k"]


def test_at_rest_replicas_write_nothing() -> None:
    replicas = Replicas(3, KeyLimits(requests_per_minute=10), 0)
    replicas.run(Traffic([0.0] * 3, length=10))
    assert replicas.exchanges >= 29
    assert not replicas.rows


def test_other_limits_are_shared_anew_and_the_same_ones_change_nothing() -> None:
    replicas = Replicas(3, KeyLimits(requests_per_minute=60), 0)
    traffic = Traffic(even(3, 5, 0), length=30)
    replicas.run(traffic)
    before = [[gauge.allotted for gauge in meter.gauges] for meter in replicas.meters]
    assert sum(allotted for one in before for allotted in one) == pytest.approx(60, abs=1)
    replicas.set_limits(KeyLimits(requests_per_minute=60))
    assert [[gauge.allotted for gauge in meter.gauges] for meter in replicas.meters] == before
    replicas.set_limits(KeyLimits(requests_per_minute=120, concurrent_requests=9))
    traffic.length = 50
    outcome = replicas.run(traffic)
    assert outcome.requests == pytest.approx(120, rel=ACCURACY)
    assert outcome.busiest <= 9 * (1 + ACCURACY) + 3
    replicas.set_limits(KeyLimits())
    traffic.length = 52
    replicas.run(traffic)
    assert not any(row.claims for row in replicas.rows.values())
