"""What is promised of fair shares and priorities, apart from how they are kept."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.simulation.fairness import watched

from headrace_api.wire import Usage
from headrace_queue.exchange import Call
from headrace_queue.schedule import Schedule, work
from headrace_queue.schedule.ranking import Ranking

WORKER = 10**6


def call(number: int, key: str = "", weight: float = 1.0, priority: int = 0, size: int = 100) -> Call:
    return Call(str(number), "m", "", b"x" * size, key=key, weight=weight, priority=priority)


def one_at_a_time() -> Schedule:
    schedule = Schedule(ageing_s=10)
    schedule.add(WORKER, ["m"])
    return schedule


def serve(schedule: Schedule) -> int:
    schedule.grant(WORKER, 1)
    [(ticket, _)] = schedule.decide_for(WORKER)
    return ticket


Sizes = st.lists(st.integers(0, 40_000), min_size=30, max_size=30)


@pytest.mark.slow
@given(sizes=st.tuples(Sizes, Sizes), weights=st.tuples(st.sampled_from([0.5, 1.0, 4.0]), st.sampled_from([1.0, 3.0])))
def test_what_two_keys_get_differs_by_no_more_than_a_request_of_each(
    sizes: tuple[list[int], list[int]], weights: tuple[float, float]
) -> None:
    schedule, got, owner = one_at_a_time(), [0.0, 0.0], {}
    effort = work.Estimates()
    for key in (0, 1):  # all of the first key's come before any of the second's
        for number, size in enumerate(sizes[key]):
            ticket = 100 * key + number
            owner[ticket] = (key, effort.work(call(0, size=size)) / weights[key])
            schedule.enqueue(ticket, call(ticket, str(key), weights[key], size=size))
    left = [len(each) for each in sizes]
    bound = sum(max(effort.work(call(0, size=size)) for size in sizes[key]) / weights[key] for key in (0, 1))
    while all(left):
        key, charge = owner[serve(schedule)]
        got[key] += charge
        left[key] -= 1
        assert abs(got[0] - got[1]) <= bound + 1e-6


def test_a_key_is_charged_for_what_its_answers_really_are() -> None:
    schedule, served = one_at_a_time(), {"long": 0, "short": 0}
    for number in range(400):
        key = ("long", "short")[number % 2]
        schedule.enqueue(number, call(number, key))
    for _ in range(100):
        ticket = serve(schedule)
        key = ("long", "short")[ticket % 2]
        served[key] += 1
        schedule.settle(ticket, Usage(prompt_tokens=10, completion_tokens=900 if key == "long" else 100))
        schedule.withdraw(ticket)
    assert 5 <= served["short"] / served["long"] <= 12


def test_a_key_saves_up_nothing_while_it_asks_for_nothing() -> None:
    schedule = one_at_a_time()
    for number in range(100):
        schedule.enqueue(number, call(number, "busy"))
    for _ in range(50):
        serve(schedule)
    for number in range(100, 150):
        schedule.enqueue(number, call(number, "new"))
    order = [serve(schedule) >= 100 for _ in range(40)]
    assert 19 <= sum(order) <= 21


def test_what_was_passed_over_for_a_higher_priority_has_no_rights_over_those_that_come_later() -> None:
    schedule, owners = one_at_a_time(), dict(enumerate(20 * "p" + 20 * "h" + 20 * "n"))
    for number in range(40):
        schedule.enqueue(number, call(number, owners[number], priority=int(owners[number] == "h")))
    assert {owners[serve(schedule)] for _ in range(20)} == {"h"}
    for number in range(40, 60):
        schedule.enqueue(number, call(number, owners[number]))
    assert "".join(owners[serve(schedule)] for _ in range(20)) == 10 * "pn"


def adapted(number: int, key: str) -> Call:
    return Call(str(number), "m:a", "", b"x" * 100, key=key, adapter="a")


def test_a_key_saves_up_nothing_where_nobody_can_take_what_it_asks_for() -> None:
    schedule, owners = one_at_a_time(), {}
    schedule.enqueue(0, adapted(0, "saver"))
    for number in range(1, 61):
        owners[number] = ("busy", "saver")[number > 30]
        if number == 31:
            assert {owners[serve(schedule)] for _ in range(10)} == {"busy"}
        schedule.enqueue(number, call(number, owners[number]))
    assert 9 <= [owners[serve(schedule)] for _ in range(20)].count("saver") <= 11


def test_what_waits_for_a_worker_catches_up_once_there_is_one() -> None:
    """Those of the same line share that evenly, also who came last."""
    schedule, owners = one_at_a_time(), {}
    for number, key in enumerate(10 * "a" + 30 * "b" + 10 * "c"):
        owners[number] = key
        if key == "c" and owners[number - 1] == "b":
            assert {owners[serve(schedule)] for _ in range(10)} == {"b"}
        schedule.enqueue(number, call(number, key) if key == "b" else adapted(number, key))
    schedule.replace_models(WORKER, ["m", "m:a"])
    order = "".join(owners[serve(schedule)] for _ in range(30))
    assert abs(order[:20].count("a") - order[:20].count("c")) <= 1
    assert order.count("a") == 10
    assert order[:10].count("b") < 5


def test_a_flood_of_low_priority_that_has_become_old_is_no_flood_for_what_comes_with_a_higher_one() -> None:
    schedule = one_at_a_time()
    for number in range(100):
        schedule.enqueue(number, call(number, "flood"))
    assert serve(schedule) == 0
    for number in range(100, 110):
        schedule.enqueue(number, call(number, "urgent", priority=1), now=1000.0)
    order = [serve(schedule) for _ in range(12)]
    assert order == [1, *range(100, 110), 2], "what it had waited for it got with the first"


Lines = st.sampled_from([("m", 0), ("m", 0), ("m", 1), ("m:a", 0), ("m:b", 0)])
Event = st.one_of(
    st.tuples(st.just("come"), st.sampled_from("abc"), Lines, st.integers(0, 4000)),
    st.tuples(st.just("serve"), st.sampled_from([WORKER, WORKER, WORKER + 1, WORKER + 2])),
    st.tuples(st.sampled_from(["leave", "back", "settle", "isolate"]), st.integers(0, 1000)),
)


@pytest.mark.slow
@given(st.lists(Event, max_size=120))
def test_keys_share_in_each_line_whatever_waits_in_others(events: list[tuple[Any, ...]]) -> None:
    schedule, wrong = watched(ageing_s=10)
    for number, models in enumerate((["m"], ["m", "m:a"], ["m:b"])):
        schedule.add(WORKER + number, models)
    for ticket, (what, *how) in enumerate(events):
        entries = schedule._demands.entries
        running = sorted(number for number, entry in entries.items() if entry.worker is not None)
        some = sorted(entries.keys() - set(running)) if what == "isolate" else running
        if what == "come":
            key, (model, priority), size = how
            adapter = model.partition(":")[2]
            of_key = replace(call(ticket, key, 1 + ord(key) % 3, priority, size), model=model, adapter=adapter)
            schedule.enqueue(ticket, of_key, float(ticket))
        elif what == "serve":
            schedule.grant(how[0], 1)
        elif some and what == "isolate":
            schedule.isolate(some[how[0] % len(some)])
        elif some and what == "back":
            schedule.give_back(some[how[0] % len(some)])
        elif some:
            done = some[how[0] % len(some)]
            if what == "settle":
                schedule.settle(done, Usage(prompt_tokens=how[0], completion_tokens=how[0] // 2))
            schedule.withdraw(done)
        assert all(ticket in entries for ticket, _ in schedule.decide())
    assert not wrong


@pytest.mark.slow
def test_many_keys_that_have_left_are_forgotten() -> None:
    schedule = one_at_a_time()
    schedule.enqueue(1, call(1, "first"))
    serve(schedule)
    for number in range(2, 20_000):
        schedule.enqueue(number, call(number, f"k{number}"))
        assert serve(schedule) == number
        schedule.withdraw(number)
    [demand] = schedule._demands.models.values()
    assert len(demand.shares._flows) < 3000


def test_the_highest_priority_goes_first_and_the_lowest_goes_too() -> None:
    schedule, order = one_at_a_time(), []
    schedule.enqueue(0, call(0, "low", priority=0))
    for number in range(1, 60):  # one of priority 2 a second, and one is served a second
        schedule.enqueue(number, call(number, "high", priority=2), float(number))
        order.append(serve(schedule))
    assert order[19] == 0, "after 20 s, at 10 s a priority, it is even with those that come then, and older"


def test_what_comes_back_is_served_where_it_stood() -> None:
    schedule = one_at_a_time()
    for number in range(10):
        schedule.enqueue(number, call(number, ("a", "b")[number % 2]))
    first, second = serve(schedule), serve(schedule)
    for ticket in (second, first):
        schedule.give_back(ticket)
    assert [serve(schedule), serve(schedule)] == [first, second]


Waiting = st.tuples(
    st.sampled_from("abc"),
    st.sampled_from(["m", "m:a"]),
    st.sampled_from([0, 0, 1, 5]),
    st.integers(0, 20_000),
    st.integers(0, 60),
    st.booleans(),
)


@given(st.lists(Waiting, min_size=1, max_size=25))
def test_the_order_that_is_told_is_the_order_that_is_kept(
    waiting: list[tuple[str, str, int, int, int, bool]],
) -> None:
    schedule, now, kept = one_at_a_time(), 0.0, []
    schedule.replace_models(WORKER, ["m", "m:a"])
    for ticket, (key, model, priority, size, pause, one_is_served) in enumerate(waiting):
        now += pause
        asked = replace(call(ticket, key, 1 + ord(key) % 3, priority, size), model=model, adapter=model[2:])
        schedule.enqueue(ticket, asked, now)
        if one_is_served:
            kept.append(serve(schedule))
    told = [entry.ticket for _, entry in schedule.in_order()]
    assert [serve(schedule) for _ in told] == told
    assert len(told) + len(kept) == len(waiting)


def test_an_adapter_shares_with_its_model() -> None:
    schedule = Schedule()
    schedule.add(WORKER, ["m", "m:a"])
    for number in range(20):
        schedule.enqueue(number, call(number, "greedy"))
    for number in range(20, 40):
        schedule.enqueue(number, Call(str(number), "m:a", "", b"x" * 100, key="greedy", adapter="a"))
    for number in range(40, 60):
        schedule.enqueue(number, call(number, "modest"))
    assert 9 <= sum(serve(schedule) >= 40 for _ in range(20)) <= 11, "half of it, not a third"


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("put"), st.integers(0, 9), st.integers(0, 5)),
            st.tuples(st.just("drop"), st.integers(0, 9)),
        ),
        max_size=300,
    )
)
def test_a_ranking_keeps_the_least_first(steps: list[tuple[str, int, int] | tuple[str, int]]) -> None:
    ranking, book = Ranking[int](), {}
    for count, step in enumerate(steps):
        if len(step) == 3:
            ranking.put(step[1], step[2])
            book[step[1]] = (step[2], count)
        else:
            ranking.drop(step[1])
            book.pop(step[1], None)
        assert ranking.first() == min(book, key=book.__getitem__, default=None)
        assert len(ranking) == len(book)
    assert list(ranking.in_order()) == sorted(book, key=book.__getitem__)
    assert len(ranking._heap) <= 2 * len(book) + 33
