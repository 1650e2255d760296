"""What is promised of fair shares and priorities, apart from how they are kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


Waiting = st.tuples(st.sampled_from("abc"), st.sampled_from([0, 0, 1, 5]), st.integers(0, 20_000), st.integers(0, 60))


@given(st.lists(Waiting, min_size=1, max_size=25))
def test_the_order_that_is_told_is_the_order_that_is_kept(waiting: list[tuple[str, int, int, int]]) -> None:
    schedule, now = one_at_a_time(), 0.0
    for ticket, (key, priority, size, pause) in enumerate(waiting):
        now += pause
        schedule.enqueue(ticket, call(ticket, key, 1 + ord(key) % 3, priority, size), now)
    told = schedule.positions("m")
    kept = [serve(schedule) for _ in waiting]
    assert [told[ticket] for ticket in kept] == list(range(len(waiting)))


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
