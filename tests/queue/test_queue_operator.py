"""The operator's socket on the admin port, and the other things there."""

import asyncio

import openai
import pytest
import websockets
from queue_setup import PLAIN, Queue, eventually, load_until, operator
from v1_worker import V1Worker

from headrace_api import wire
from headrace_api.load import Catalogue, Load, ModelLoad
from headrace_queue import operator_socket


@pytest.mark.slow
async def test_load_follows_the_requests(queue: Queue) -> None:
    async with operator(queue) as socket:
        await load_until(socket, {})
        await socket.send(Catalogue(models=["m"]).model_dump_json())
        await load_until(socket, {"m": ModelLoad()})
        tasks = [queue.ask() for _ in range(20)]
        assert await load_until(socket, {"m": ModelLoad(queued=20)}) <= 3, "changes close together are told at once"
        async with V1Worker(queue.worker_url, "m", credit=1) as worker:
            job = await worker.expect(wire.Job)
            await load_until(socket, {"m": ModelLoad(queued=19, running=1, workers=1, in_flight={"fake": 1})})
            await worker.result(job, body=PLAIN)
            for task in tasks:
                task.cancel()
            await load_until(socket, {"m": ModelLoad(workers=1)})
        await load_until(socket, {"m": ModelLoad()})


@pytest.mark.slow
async def test_a_request_that_came_and_went_between_two_messages_is_told(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operator_socket, "_PAUSE_SECONDS", 0.5)
    async with operator(queue) as socket, V1Worker(queue.worker_url, "m", credit=9) as worker:
        await load_until(socket, {"m": ModelLoad(workers=1)})
        for _ in range(2):  # within the pause
            task = queue.ask()
            await worker.result(await worker.expect(wire.Job), body=PLAIN)
            await task
        async with asyncio.timeout(5):
            load = Load.model_validate_json(await socket.recv())
    assert load.models == {"m": ModelLoad(workers=1, taken=2)}


async def test_in_flight_is_told_by_worker(queue: Queue) -> None:
    async with (
        operator(queue) as socket,
        V1Worker(queue.worker_url, "m", credit=3, name="busy") as busy,
        V1Worker(queue.worker_url, "m", credit=1, name="one"),
        V1Worker(queue.worker_url, "m", "n", name="idle"),
    ):
        tasks = [queue.ask() for _ in range(4)]
        in_flight = {"busy": 3, "one": 1}
        expected = {"m": ModelLoad(running=4, workers=3, in_flight=in_flight), "n": ModelLoad(workers=1)}
        await load_until(socket, expected)
        await busy.send(wire.Drain(reason="stop"))
        # what a draining worker has still counts
        await load_until(socket, expected | {"m": ModelLoad(running=4, workers=2, in_flight=in_flight)})
        for task in tasks:
            task.cancel()


@pytest.mark.slow
async def test_a_first_change_is_told_at_once_and_the_next_after_a_pause(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operator_socket, "_PAUSE_SECONDS", 0.01)
    async with operator(queue) as socket:
        await load_until(socket, {})
        await asyncio.sleep(0.1)  # the pause after the greeting
        monkeypatch.setattr(operator_socket, "_PAUSE_SECONDS", 3600)
        await socket.send(Catalogue(models=["m"]).model_dump_json())
        assert await load_until(socket, {"m": ModelLoad()}) == 1
        task = queue.ask()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(socket.recv(), 0.3)
        task.cancel()


@pytest.mark.slow
async def test_a_catalogue_outlives_its_connection_until_the_next(queue: Queue) -> None:
    async with operator(queue) as socket:
        await socket.send(Catalogue(models=["m", "n"]).model_dump_json())
        await load_until(socket, {"m": ModelLoad(), "n": ModelLoad()})
    await eventually(lambda: queue.logged()[-1]["event"] == "operator left")
    assert [model.id async for model in await queue.client.models.list()] == ["m", "n"]
    async with operator(queue) as first, operator(queue) as second:
        await first.send(Catalogue(models=["n"]).model_dump_json())
        await load_until(first, {"n": ModelLoad()})
        await second.send(Catalogue(models=["o"]).model_dump_json())
        await load_until(first, {"n": ModelLoad(), "o": ModelLoad()})
        with pytest.raises(openai.NotFoundError):
            await queue.ask("m")


async def test_a_bad_catalogue_is_refused_with_a_reason(queue: Queue) -> None:
    async with operator(queue) as socket:
        await socket.send('{"models": "m"}')
        with pytest.raises(websockets.ConnectionClosedError, match="models"):
            await load_until(socket, {"never": ModelLoad()})


async def test_metrics_and_health(queue: Queue) -> None:
    async with V1Worker(queue.worker_url, "m", credit=1) as worker:
        task = queue.ask()
        job = await worker.expect(wire.Job)
        async with queue.http.get(f"{queue.admin_url}/metrics") as response:
            text = await response.text()
        await worker.result(job, body=PLAIN)
        await task
    assert 'headrace_queue_running_requests{model="m"} 1.0' in text
    assert 'headrace_queue_queued_requests{model="m"} 0.0' in text
    assert 'headrace_queue_workers{model="m"} 1.0' in text
    assert "headrace_queue_generalists 0.0" in text
    await eventually(lambda: queue.metric("headrace_queue_first_piece_seconds_count", model="m") == 1)
    for url in (queue.url, queue.admin_url):
        for path in ("/healthz", "/readyz"):
            async with queue.http.get(url + path) as response:
                assert response.status == 200
