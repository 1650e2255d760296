"""Workers that are connected but not ready yet, and workers whose models change."""

import asyncio

import openai
import pytest
from queue_setup import PLAIN, Queue, Start, eventually, load_until, operator
from v1_worker import V1Worker

from headrace_api import wire
from headrace_api.load import ModelLoad, Starting

pytestmark = pytest.mark.slow


async def test_a_worker_that_is_not_ready_is_told_of_and_given_nothing(queue: Queue) -> None:
    async with operator(queue) as socket, V1Worker(queue.worker_url, "m", name="w", state="fetching") as worker:
        await load_until(socket, {"m": ModelLoad(starting={"w": Starting(state="fetching")})})
        task = queue.ask()  # of a model that only this worker has told of: it is held, not unknown
        await worker.send(wire.Report(state="fetching", detail="a.safetensors", done_bytes=3, total_bytes=14))
        far = Starting(state="fetching", detail="a.safetensors", done_bytes=3, total_bytes=14)
        await load_until(socket, {"m": ModelLoad(queued=1, starting={"w": far})})
        assert await worker.silent()
        await worker.send(wire.Report(state="ready"))
        await load_until(socket, {"m": ModelLoad(queued=1, workers=1)})
        assert await worker.silent(), "a state gives no credit"
        await worker.send(wire.Credit(n=1))
        await worker.result(await worker.expect(wire.Job), body=PLAIN)
        await task
    states = [(line["before"], line["state"]) for line in queue.logged() if line["event"] == "worker state"]
    assert states == [("fetching", "ready")], "progress is no news for the log"


async def test_a_worker_that_has_failed_is_told_of_until_it_is_gone(start: Start) -> None:
    queue = await start(models=("m",))
    async with operator(queue) as socket:
        async with V1Worker(queue.worker_url, "m", credit=1, name="w") as worker:
            await load_until(socket, {"m": ModelLoad(workers=1)})
            await worker.send(wire.Report(state="failed", detail="the engine was killed"))
            await worker.send(wire.Drain(reason="the engine was killed"))
            failed = {"w": Starting(state="failed", detail="the engine was killed")}
            task = queue.ask()
            await load_until(socket, {"m": ModelLoad(queued=1, starting=failed)})
            assert await worker.silent()
            task.cancel()
            await load_until(socket, {"m": ModelLoad(starting=failed)})
        await load_until(socket, {"m": ModelLoad()})


async def test_what_a_ready_worker_says_is_amiss_is_logged_once(queue: Queue) -> None:
    async with V1Worker(queue.worker_url, "m", state="loading") as worker:
        for detail in ("", "the adapter legal: it is not there", "the adapter legal: it is not there", ""):
            await worker.send(wire.Report(state="ready", detail=detail))
        await worker.send(wire.Report(state="loading", detail="model.safetensors"))
        await eventually(lambda: queue.logged()[-1].get("state") == "loading")
    said = [(line["before"], line["note"]) for line in queue.logged() if line["event"] == "worker note"]
    assert said == [("", "the adapter legal: it is not there"), ("the adapter legal: it is not there", "")]


async def test_granting_credits_says_that_it_is_ready(queue: Queue) -> None:
    async with V1Worker(queue.worker_url, "m", state="warming") as worker:
        task = queue.ask()
        await worker.send(wire.Credit(n=1))
        await worker.result(await worker.expect(wire.Job), body=PLAIN)
        await task


async def test_a_worker_that_falls_back_keeps_its_credits_and_its_jobs(queue: Queue) -> None:
    async with operator(queue) as socket, V1Worker(queue.worker_url, "m", credit=3, name="w") as worker:
        first = queue.ask()
        job = await worker.expect(wire.Job)
        await worker.send(wire.Report(state="loading", detail="the engine has died"))
        again = {"w": Starting(state="loading", detail="the engine has died")}
        await load_until(socket, {"m": ModelLoad(running=1, in_flight={"w": 1}, starting=again)})
        second = queue.ask()
        assert await worker.silent()
        await worker.result(job, body=PLAIN)
        await first
        await worker.send(wire.Report(state="ready"))
        await worker.result(await worker.expect(wire.Job), body=PLAIN)
        await second


@pytest.mark.parametrize("state", ["draining", "stopped"])
async def test_a_worker_that_registers_only_to_settle_is_not_told_of(queue: Queue, state: wire.WorkerState) -> None:
    async with operator(queue) as socket, V1Worker(queue.worker_url, "m", credit=1, state=state) as worker:
        await load_until(socket, {})
        with pytest.raises(openai.NotFoundError):
            await queue.ask()
        assert await worker.silent()


async def test_generalists_go_on_while_the_right_worker_starts(start: Start) -> None:
    queue = await start(generalist_models=("m",))
    schedule = queue.server.dispatcher.schedule
    async with V1Worker(queue.worker_url, "m", state="loading") as worker:
        await eventually(lambda: schedule.has_dedicated("m"))
        schedule.add(1000, None)
        schedule.grant(1000, 1)
        assert schedule.free("m")
        await worker.send(wire.Report(state="ready"))
        await eventually(lambda: not schedule.free("m"))
        schedule.remove(1000)


async def test_who_has_waited_in_vain_is_told_how_far_the_workers_are(start: Start) -> None:
    queue = await start(hold_seconds=0.3)
    async with (
        V1Worker(queue.worker_url, "m", name="near", state="fetching") as worker,
        V1Worker(queue.worker_url, "m", name="far", state="fetching"),
    ):
        await worker.send(wire.Report(state="fetching", done_bytes=3 * 10**9, total_bytes=14 * 10**9))
        with pytest.raises(openai.InternalServerError, match=r"2 starting: fetching 3\.0 of 14\.0 GB") as caught:
            await queue.ask()
    assert caught.value.response.headers["retry-after"]


async def test_what_waits_for_a_new_model_is_handed_out_at_once(start: Start) -> None:
    queue = await start(models=("m:a",))
    async with operator(queue) as socket, V1Worker(queue.worker_url, "m", credit=3) as worker:
        task = queue.ask("m:a")
        await load_until(socket, {"m": ModelLoad(workers=1), "m:a": ModelLoad(queued=1)})
        await worker.send(wire.Serving(models=["m", "m:a"], adapters=["m:a"]))
        job = await worker.expect(wire.Job)
        assert job.openai_req["model"] == "m:a"
        await worker.send(wire.Serving(models=["m"]))
        await load_until(socket, {"m": ModelLoad(workers=1, in_flight={"fake": 1}), "m:a": ModelLoad(running=1)})
        late = queue.ask("m:a")
        assert await worker.silent(), "it answers to this model no longer"
        await worker.result(job, body=PLAIN)
        await task
        late.cancel()


async def test_what_is_amiss_with_a_ready_worker_is_passed_on(start: Start) -> None:
    queue = await start()
    async with operator(queue) as socket, V1Worker(queue.worker_url, "m", credit=3) as worker:
        await worker.send(wire.Report(state="ready", detail="the adapter a: it is not there"))
        await load_until(socket, {"m": ModelLoad(workers=1, notes={"fake": "the adapter a: it is not there"})})
        await worker.send(wire.Report(state="ready"))
        await load_until(socket, {"m": ModelLoad(workers=1)})


async def test_a_job_says_how_long_it_waited(queue: Queue) -> None:
    async with V1Worker(queue.worker_url, "m") as worker:
        task = queue.ask()
        await eventually(lambda: queue.server.dispatcher.schedule.waiting == 1)
        await asyncio.sleep(0.2)
        await worker.send(wire.Credit(n=2))
        job = await worker.expect(wire.Job)
        assert 0.2 <= job.waited_s < 5
        await worker.send(wire.HandBack(job=job.job, reason="x"))
        again = await worker.expect(wire.Job)
        assert again.waited_s > job.waited_s, "since the request came, not since it was handed back"
        await worker.result(again, body=PLAIN)
        await task


async def test_impossible_progress_ends_the_connection_with_a_reason(queue: Queue) -> None:
    async with V1Worker(queue.worker_url, "m", state="fetching") as worker:
        await worker.socket.send('{"type": "report", "state": "fetching", "done_bytes": -1}')
        await worker.socket.wait_closed()
        assert "done_bytes" in (worker.socket.close_reason or "")


async def test_starting_workers_are_counted_apart(queue: Queue) -> None:
    async with V1Worker(queue.worker_url, "m"), V1Worker(queue.worker_url, "m", name="late", state="loading"):
        await eventually(lambda: queue.metric("headrace_queue_starting_workers", model="m") == 1)
        assert queue.metric("headrace_queue_workers", model="m") == 1
