"""The work queue: nothing twice at a time, nothing forgotten."""

import asyncio

import pytest

from headrace_operator import work_queue
from headrace_operator.work_queue import Observer, Unavailable, WorkQueue


async def settle(queue, until):
    task = asyncio.create_task(queue.run())
    async with asyncio.timeout(10):
        while not until():
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_added_while_waiting_is_worked_on_once():
    seen = []

    async def work(key):
        seen.append(key)

    queue = WorkQueue(work)
    for key in ("a", "b", "a", "a"):
        queue.add(key)
    await settle(queue, lambda: len(seen) >= 2 and len(queue) == 0)
    assert sorted(seen) == ["a", "b"]


async def test_added_while_busy_is_worked_on_again_and_never_at_the_same_time():
    active, most, done = 0, 0, 0

    async def work(key):
        nonlocal active, most, done
        active += 1
        most = max(most, active)
        if done == 0:
            queue.add(key)
        await asyncio.sleep(0.02)
        active -= 1
        done += 1

    queue = WorkQueue(work)
    queue.add("a")
    await settle(queue, lambda: done == 2)
    assert most == 1


async def test_failure_is_tried_again(monkeypatch):
    monkeypatch.setattr(work_queue, "_FIRST_RETRY_SECONDS", 0.01)
    tries = 0

    async def work(_key):
        nonlocal tries
        tries += 1
        if tries < 3:
            raise ConnectionError("not yet")

    queue = WorkQueue(work)
    queue.add("a")
    await settle(queue, lambda: tries == 3)


async def test_what_is_added_while_all_hands_pause_is_worked_on_afterwards(monkeypatch):
    monkeypatch.setattr(work_queue, "_FIRST_PAUSE_SECONDS", 0.05)
    seen = []

    async def work(key):
        seen.append(key)
        if len(seen) == 1:
            queue.add("b")
            raise Unavailable("away")

    queue = WorkQueue(work, hands=1)
    queue.add("a")
    await settle(queue, lambda: len(seen) == 3)
    assert seen[0] == "a"
    assert sorted(seen[1:]) == ["a", "b"]


@pytest.mark.slow
async def test_the_time_that_the_api_server_asks_for_holds_for_all_keys():
    loop, times = asyncio.get_running_loop(), {}

    async def work(key):
        if key not in times and not times:
            times[key] = loop.time()
            queue.add("b")
            raise Unavailable("too many requests", seconds=0.3)
        times[key + " again"] = loop.time()

    queue = WorkQueue(work)
    queue.add("a")
    await settle(queue, lambda: len(times) == 3)
    assert min(times["a again"], times["b again"]) - times["a"] >= 0.3


async def test_what_can_wait_is_worked_on_when_nothing_else_waits():
    seen, calm = [], []

    async def work(key):
        seen.append(key)
        if key == "numbers" and not queue.postpone(key, 0.0):
            calm.append(list(seen))
        await asyncio.sleep(0)

    queue = WorkQueue(work, hands=1)
    queue.add("numbers")
    for number in range(20):
        queue.add(f"urgent {number}")
    await settle(queue, lambda: calm)
    assert calm[0][-1] == "numbers"
    assert len(calm[0]) == 22


async def test_a_calm_turn_comes_no_earlier_than_asked_for():
    loop, times = asyncio.get_running_loop(), []

    async def work(key):
        times.append(loop.time())
        queue.postpone(key, 0.2)

    queue = WorkQueue(work)
    queue.add("a")
    await settle(queue, lambda: len(times) == 2)
    assert times[1] - times[0] >= 0.2


async def test_of_several_later_turns_the_earliest_counts():
    seen = []

    async def work(key):
        seen.append(key)

    queue = WorkQueue(work)
    queue.add_after("a", 60.0)
    queue.add_after("a", 0.01)
    queue.add_after("a", 30.0)
    await settle(queue, lambda: seen)
    assert seen == ["a"]


async def test_what_was_in_hand_when_the_queue_stopped_is_worked_on_in_the_next_run():
    started, done = asyncio.Event(), []

    async def work(key):
        if not started.is_set():
            started.set()
            await asyncio.sleep(60)
        done.append(key)

    queue = WorkQueue(work)
    queue.add("a")
    first = asyncio.create_task(queue.run())
    await started.wait()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await settle(queue, lambda: done)
    assert done == ["a"]


async def test_a_closed_queue_takes_nothing_and_forgets_what_waited():
    seen, dropped = [], []

    class Noting(Observer):
        def dropped(self, key):
            dropped.append(key)

    async def work(key):
        seen.append(key)

    queue = WorkQueue(work, observer=Noting())
    queue.add("waits")
    queue.add_after("due later", 0.01)
    queue.close()
    queue.add("while closed")
    await asyncio.sleep(0.05)
    assert (len(queue), dropped) == (0, ["waits"])
    queue.open()
    queue.add("after")
    await settle(queue, lambda: seen)
    assert seen == ["after"]


async def test_nobody_is_left_alone_for_an_hour(monkeypatch):
    monkeypatch.setattr(work_queue, "_LONGEST_REST_SECONDS", 0.2)
    seen = []

    async def work(key):
        seen.append(key)
        if len(seen) == 1:
            raise Unavailable("too many requests", seconds=3600.0)

    queue = WorkQueue(work)
    queue.add("a")
    await settle(queue, lambda: len(seen) == 2)
    assert seen == ["a", "a"]
