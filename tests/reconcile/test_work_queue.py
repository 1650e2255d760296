"""The work queue: nothing twice at a time, nothing forgotten."""

import asyncio

from headrace_operator import work_queue
from headrace_operator.work_queue import WorkQueue


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
