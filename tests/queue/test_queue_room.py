"""What may wait, and what those are told that may not."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from virtual_queue import VirtualQueue, error

from headrace_api.load import Starting
from headrace_queue import snapshot
from headrace_queue.errors import ApiError
from headrace_queue.exchange import Call
from headrace_queue.limits import Limits
from headrace_queue.room import Room


def refused(queue: VirtualQueue, **call: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        queue.ask(**call)
    return caught.value


def test_a_model_and_a_key_have_bounds_of_their_own() -> None:
    queue = VirtualQueue("m", "n", max_waiting=5, max_waiting_per_model=3, max_waiting_per_key=2)
    queue.ask(key="k"), queue.ask(model="n", key="k")
    assert "2 requests of this key wait" in refused(queue, key="k").message
    queue.ask(), queue.ask()
    assert "3 requests wait for this model" in refused(queue).message
    queue.ask(model="n")
    assert "5 requests wait" in refused(queue, model="n").message


def test_the_bytes_of_a_key_are_bounded() -> None:
    queue = VirtualQueue("m", max_waiting_bytes_per_key=10)
    first = queue.ask(key="k", raw=b"x" * 6)
    assert "6 bytes of this key's requests wait" in refused(queue, key="k", raw=b"x" * 5).message
    queue.ask(key="other", raw=b"x" * 5)
    queue.dispatcher.leave(first)
    queue.ask(key="k", raw=b"x" * 10)


def test_who_comes_too_many_is_told_when_workers_will_be_there() -> None:
    queue = VirtualQueue("m", max_waiting=1)
    queue.ask()
    assert (refused(queue).status, refused(queue).code, refused(queue).retry_after) == (429, "queue_full", 5)
    worker = queue.worker("m", starting=Starting(state="fetching", done_bytes=10**9, total_bytes=4 * 10**9))
    assert "1 starting: fetching 1.0 of 4.0 GB" in refused(queue).message
    queue.clock.pass_(10)
    assert refused(queue).retry_after == 30, "a quarter in 10 s"
    assert "in about 30 s" in refused(queue).message
    worker.report(None)
    assert "starting" not in refused(queue).message


def test_the_time_that_is_told_follows_from_how_fast_requests_leave() -> None:
    queue = VirtualQueue(max_waiting=10)
    worker = queue.worker("m", credit=1)
    for number in range(40):  # one in two seconds, without anything before the last ten
        queue.ask(str(number))
        for job in list(worker.jobs):
            worker.finish(job)
        queue.clock.pass_(2)
        if number < 39:
            worker.grant()
    for number in range(10):
        queue.ask(str(number))
    assert 18 <= (refused(queue).retry_after or 0) <= 26, "ten before it, one in two seconds"


def test_while_nothing_leaves_the_time_that_is_told_grows_slowly_and_then_is_not_told() -> None:
    queue = VirtualQueue(hold_seconds=10**6, request_seconds=10**6)
    queue.worker("m", credit=1)
    queue.ask(), queue.ask()
    told = {}
    for now in (60, 120, 300, 600, 601, 6 * 3600):
        queue.clock.pass_(now - max(told, default=0))
        told[now] = eta(queue)
    assert told == {60: 60, 120: 120, 300: 300, 600: 600, 601: None, 6 * 3600: None}


def test_who_waited_in_vain_is_told_whether_workers_were_there() -> None:
    queue = VirtualQueue("m", "n", hold_seconds=10)
    queue.worker("n")
    cold, busy = queue.ask(), queue.ask(model="n")
    queue.clock.pass_(11)
    assert error(cold) == (503, "no_worker")
    assert error(busy) == (429, "queue_timeout")


def eta(queue: VirtualQueue) -> float | None:
    [one] = snapshot.waiting(queue.dispatcher)
    return one.eta_s


def test_the_time_of_cold_starts_is_learned() -> None:
    queue = VirtualQueue("m", hold_seconds=1000)
    for _ in range(3):
        waiting = queue.ask()
        queue.clock.pass_(40)
        worker = queue.worker("m", starting=Starting(state="loading"))
        queue.clock.pass_(20)
        worker.report(Starting(state="warming"))
        queue.clock.pass_(2)
        worker.grant()
        worker.finish(next(iter(worker.jobs)))
        queue.dispatcher.leave(waiting)
        worker.die()
    queue.ask()
    queue.clock.pass_(10)
    assert eta(queue) == pytest.approx(52)
    worker = queue.worker("m", starting=Starting(state="loading"))
    queue.clock.pass_(5)
    assert eta(queue) == pytest.approx(17)


Calls = st.builds(
    Call, st.just("r"), st.sampled_from("mn"), st.just(""), st.binary(max_size=8), key=st.sampled_from(["", "a", "b"])
)


@given(st.lists(st.tuples(Calls, st.booleans()), max_size=60))
def test_no_bound_is_ever_exceeded(steps: list[tuple[Call, bool]]) -> None:
    limits = Limits(6, 30, 4, 3, 12)
    room, waiting = Room(limits), list[Call]()
    for call, comes in steps:
        if not comes and waiting:
            room.remove(waiting.pop())
            continue
        own = [each for each in waiting if each.key == call.key and call.key]
        fits = (
            len(waiting) < 6
            and sum(len(each.raw) for each in [*waiting, call]) <= 30
            and len([each for each in waiting if each.model == call.model]) < 4
            and len(own) < 3
            and (not call.key or sum(len(each.raw) for each in [*own, call]) <= 12)
        )
        assert (room.full(call) is None) == fits
        if fits:
            room.add(call)
            waiting.append(call)
