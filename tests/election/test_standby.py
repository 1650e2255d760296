"""A replica that does not lead has nothing that waits, and begins with everything when it leads."""

import asyncio
from types import SimpleNamespace

from tests.waiting import until

from headrace_operator import app
from headrace_operator.election.leadership import Leadership
from headrace_operator.work_queue import WorkQueue

KEY = ("models", "m")


async def test_a_standby_keeps_nothing_waiting_and_begins_with_all_models():
    worked, leadership, ready = [], Leadership(), asyncio.Event()

    async def work(key):
        worked.append(key)

    async def rests():
        await asyncio.Event().wait()

    queue = WorkQueue(work)
    queue.close()
    model = {"metadata": {"namespace": "models", "name": "m"}}
    parts = app._Parts(
        world=SimpleNamespace(models=lambda: [model]),
        queue=queue,
        lists=None,
        news=None,
        nodes=SimpleNamespace(run=rests),
        keeper=None,
        leadership=leadership,
        candidate=None,
        metrics=None,
    )
    tasks = [asyncio.ensure_future(part) for part in parts.running(ready, None)]
    ready.set()
    queue.add(KEY)  # a watch tells of it
    await asyncio.sleep(0.05)
    assert (len(queue), worked) == (0, [])
    for times in (1, 2):
        leadership.hold_until(float("inf"))
        await until(lambda times=times: worked == [KEY] * times)
        leadership.lose()
        await asyncio.sleep(0.05)
        queue.add(KEY)
        assert len(queue) == 0
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
