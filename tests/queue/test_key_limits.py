"""The limits of one key in one replica: windows, reservations, and what is learned of requests."""

import random
from itertools import pairwise

import pytest

from headrace_api.keys import KeyLimits
from headrace_api.wire import Usage
from headrace_queue.exchange import Call
from headrace_queue.keys.counters import DAY, LastMinute, Today
from headrace_queue.keys.estimate import Guess, most_tokens
from headrace_queue.keys.headers import duration, rate_limit_headers
from headrace_queue.keys.meter import Kind, Meter, Refusal, Taken

NOON = 1_000 * DAY + DAY / 2


def admitted(meter: Meter, now: float, tokens: float = 1.0) -> bool:
    return isinstance(meter.admit(tokens, now), Taken)


def refused(meter: Meter, now: float, tokens: float = 1.0) -> Refusal:
    found = meter.admit(tokens, now)
    assert isinstance(found, Refusal)
    return found


@pytest.mark.parametrize("seed", range(20))
def test_no_minute_ever_has_more_than_the_limit_and_hardly_less(seed: int) -> None:
    rng, limit, times, now = random.Random(seed), 50, [], NOON  # noqa: S311
    meter = Meter(KeyLimits(requests_per_minute=limit))
    while now < NOON + 600:
        now += rng.expovariate(rng.choice((0.2, 5.0)))
        if admitted(meter, now):
            times.append(now)
    assert all(later - earlier >= 60 for earlier, later in zip(times, times[limit:], strict=False))
    waits = [after - before for before, after in pairwise(times)]
    assert max(waits) < 61 + 60


def test_retry_after_is_when_it_fits_and_not_much_later() -> None:
    meter = Meter(KeyLimits(requests_per_minute=3))
    assert all(admitted(meter, NOON + second) for second in (0, 10, 20))
    wait = refused(meter, NOON + 21).retry_seconds
    assert 39 <= wait <= 39.5
    assert not admitted(meter, NOON + 21 + wait - 0.6)
    assert admitted(meter, NOON + 21 + wait)


def test_a_refused_request_takes_nothing_of_any_limit() -> None:
    meter = Meter(KeyLimits(requests_per_minute=5, tokens_per_minute=100, concurrent_requests=1))
    taken = meter.admit(10, NOON)
    assert isinstance(taken, Taken)
    for _ in range(9):
        assert refused(meter, NOON).gauge.kind is Kind.CONCURRENT_REQUESTS
    taken.settle(10, NOON)
    assert [round(gauge.used(NOON)) for gauge in meter.gauges] == [1, 10, 0]


def test_tokens_are_reserved_and_then_counted_as_they_were() -> None:
    meter = Meter(KeyLimits(tokens_per_minute=100, tokens_per_day=150))
    first = meter.admit(60, NOON)
    assert isinstance(first, Taken)
    assert not admitted(meter, NOON, 60)
    first.settle(30, NOON + 1)
    second = meter.admit(60, NOON + 2)
    assert isinstance(second, Taken)
    second.settle(90, NOON + 3)  # more than was thought
    assert refused(meter, NOON + 4, 1).gauge.kind is Kind.TOKENS_PER_MINUTE
    assert refused(meter, NOON + 70, 31).gauge.kind is Kind.TOKENS_PER_DAY
    assert admitted(meter, NOON + 70, 30)


@pytest.mark.parametrize("after", [0.0, 0.1, 30.0])
@pytest.mark.parametrize("tokens", [10.0, 90.0])
def test_a_request_that_was_left_counts_as_estimated_until_its_tokens_are_told(after: float, tokens: float) -> None:
    meter = Meter(KeyLimits(tokens_per_minute=100, tokens_per_day=1000, concurrent_requests=1))
    taken = meter.admit(60, NOON)
    assert isinstance(taken, Taken)
    taken.leave(NOON)
    assert [gauge.used(NOON) for gauge in meter.gauges] == [60, 60, 0]
    taken.settle(tokens, NOON + after)
    assert [gauge.used(NOON + after) for gauge in meter.gauges] == [tokens, tokens, 0]
    assert meter.gauges[0].used(NOON + 59.9) == tokens
    assert [gauge.used(NOON + after + 61) for gauge in meter.gauges] == [0, tokens, 0]


@pytest.mark.parametrize(("tokens", "counted"), [(10.0, [0, 10]), (90.0, [30, 90])])
def test_tokens_that_are_told_late_are_never_less_than_none(tokens: float, counted: list[float]) -> None:
    meter = Meter(KeyLimits(tokens_per_minute=100, tokens_per_day=1000))
    taken = meter.admit(60, NOON)
    assert isinstance(taken, Taken)
    taken.leave(NOON)
    taken.settle(tokens, NOON + 100)
    assert [gauge.used(NOON + 100) for gauge in meter.gauges] == counted


@pytest.mark.parametrize(("tokens", "counted"), [(10.0, 0), (90.0, 30)])
def test_tokens_of_yesterday_that_are_told_today_are_never_less_than_none(tokens: float, counted: float) -> None:
    meter = Meter(KeyLimits(tokens_per_day=1000))
    taken = meter.admit(60, NOON)
    assert isinstance(taken, Taken)
    taken.leave(NOON)
    taken.settle(tokens, NOON + DAY)
    assert meter.gauges[0].used(NOON + DAY) == counted


def test_a_request_that_is_under_way_for_long_stays_reserved() -> None:
    meter = Meter(KeyLimits(tokens_per_minute=100))
    assert admitted(meter, NOON, 100)
    assert not admitted(meter, NOON + 1000, 1)


def test_a_request_that_needs_more_than_the_limit_fits_when_nothing_else_does() -> None:
    meter = Meter(KeyLimits(tokens_per_minute=100))
    taken = meter.admit(500, NOON)
    assert isinstance(taken, Taken)
    assert not admitted(meter, NOON, 1)
    taken.settle(500, NOON)
    assert not admitted(meter, NOON + 59, 1)
    assert admitted(meter, NOON + 61, 1)


def test_a_day_ends_at_midnight() -> None:
    meter = Meter(KeyLimits(requests_per_day=1))
    assert admitted(meter, NOON)
    wait = refused(meter, NOON + 3600).retry_seconds
    assert wait == DAY / 2 - 3600
    assert not admitted(meter, NOON + DAY / 2 - 1)
    assert admitted(meter, NOON + 3600 + wait)


def test_other_limits_take_what_was_used_along() -> None:
    meter = Meter(KeyLimits(requests_per_minute=10, concurrent_requests=9))
    running = [meter.admit(1, NOON) for _ in range(5)]
    meter.set_limits(KeyLimits(requests_per_minute=5))
    assert not admitted(meter, NOON)
    meter.set_limits(KeyLimits(requests_per_minute=6, requests_per_day="unlimited"))
    assert admitted(meter, NOON)
    assert not admitted(meter, NOON)
    for taken in running:
        assert isinstance(taken, Taken)
        taken.settle(1, NOON)
    meter.set_limits(KeyLimits())
    assert all(admitted(meter, NOON) for _ in range(100))


@pytest.mark.parametrize("counter", [LastMinute, Today])
def test_a_clock_that_is_set_back_loses_nothing(counter: type[LastMinute | Today]) -> None:
    one = counter()
    one.add(1, NOON)
    one.add(1, NOON - 5)
    assert one.used(NOON - 5) == one.used(NOON) == 2


def test_a_limit_is_the_keys_own_or_the_default() -> None:
    own = KeyLimits(requests_per_minute=5, tokens_per_day="unlimited")
    both = own.over(KeyLimits(requests_per_minute=1, tokens_per_day=2, concurrent_requests=3))
    assert both == KeyLimits(requests_per_minute=5, tokens_per_day="unlimited", concurrent_requests=3)
    assert [gauge.kind for gauge in Meter(both).gauges] == [Kind.REQUESTS_PER_MINUTE, Kind.CONCURRENT_REQUESTS]


def test_what_requests_use_is_learned() -> None:
    guess = Guess()
    call = Call("1", "m", "/v1/chat/completions", b"x" * 400)
    for _ in range(100):
        guess.learn(call, Usage(prompt_tokens=200, completion_tokens=40))
    assert guess.tokens(call) == pytest.approx(240)
    short = Call("1", "m", "/v1/chat/completions", b"x" * 400, most_tokens=10)
    assert guess.tokens(short) == pytest.approx(210)
    assert guess.tokens(Call("1", "m", "/v1/embeddings", b"x" * 100)) == pytest.approx(50)
    assert guess.tokens(Call("1", "m", "/tokenize", b"x" * 100)) == 0


@pytest.mark.parametrize(
    ("body", "most"),
    [
        ({}, None),
        ({"max_tokens": 5}, 5),
        ({"max_tokens": 5, "max_completion_tokens": 7, "n": 2}, 14),
        ({"max_tokens": "5"}, None),
        ({"max_tokens": -1}, None),
        ({"max_tokens": 5, "n": []}, 5),
        ({"max_tokens": 5, "n": "x"}, None),
    ],
)
def test_the_most_that_an_answer_may_have(body: dict[str, object], most: int | None) -> None:
    assert most_tokens(body) == most


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0ms"), (0.0204, "20ms"), (1, "1s"), (59.9994, "59.999s"), (60, "1m0s"), (7322, "2h2m2s")]
)
def test_durations_are_as_openai_writes_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_headers_are_of_the_minute_if_it_is_limited_else_of_the_day() -> None:
    meter = Meter(KeyLimits(requests_per_minute=3, requests_per_day=100, tokens_per_day=1000))
    assert admitted(meter, NOON, 100)
    assert rate_limit_headers(meter, NOON) == {
        "x-ratelimit-limit-requests": "3",
        "x-ratelimit-remaining-requests": "2",
        "x-ratelimit-reset-requests": "1m0s",
        "x-ratelimit-limit-tokens": "1000",
        "x-ratelimit-remaining-tokens": "900",
        "x-ratelimit-reset-tokens": "12h0m0s",
    }
