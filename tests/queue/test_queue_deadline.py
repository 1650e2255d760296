"""Calls whose answers are wanted within a time."""

import pytest
from virtual_queue import VirtualQueue, error

from headrace_queue.errors import ApiError


def test_what_waits_is_ended_when_nobody_wants_it() -> None:
    queue = VirtualQueue("m")
    late, other = queue.ask("late", deadline_s=10.0), queue.ask("other")
    queue.clock.pass_(9.9)
    assert not late.over
    queue.clock.pass_(0.2)
    assert error(late) == (504, "deadline_exceeded")
    assert queue.worker("m", credit=2).asked == ["other"]
    assert not other.over


def test_a_worker_is_told_to_stop_what_nobody_wants() -> None:
    queue = VirtualQueue()
    worker = queue.worker("m", credit=1)
    late = queue.ask(deadline_s=10.0)
    queue.clock.pass_(11)
    assert error(late) == (504, "deadline_exceeded")
    assert worker.cancelled == list(worker.jobs)


def test_the_bound_of_all_requests_stays() -> None:
    queue = VirtualQueue(request_seconds=5.0)
    queue.worker("m", credit=1)
    late = queue.ask(deadline_s=10.0)
    queue.clock.pass_(6)
    assert error(late) == (504, "request_timeout")


def test_an_answer_that_was_wanted_before_is_refused() -> None:
    queue = VirtualQueue("m")
    with pytest.raises(ApiError, match="within the 0 s") as caught:
        queue.ask(deadline_s=0.0)
    assert caught.value.status == 504
    assert queue.schedule.waiting == 0
