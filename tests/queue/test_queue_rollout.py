"""What lets one queue take over from another: a new one that waits for its catalogue, an old one that lets go."""

import asyncio

import openai
import pytest
import websockets
from queue_setup import PLAIN, Queue, Start, eventually, operator
from v1_worker import V1Worker

from headrace_api import wire
from headrace_api.load import Catalogue


async def readiness(queue: Queue) -> tuple[int, str]:
    async with queue.http.get(f"{queue.admin_url}/readyz") as response:
        return response.status, await response.text()


async def test_before_the_first_catalogue_no_model_is_unknown(start: Start) -> None:
    queue = await start(expect_operator=True, max_waiting=2)
    status, text = await readiness(queue)
    assert status == 503
    assert "catalogue" in text
    real, unreal = queue.ask("m"), queue.ask("nope")
    await eventually(lambda: queue.server.dispatcher.schedule.waiting == 2)
    with pytest.raises(openai.RateLimitError):
        await queue.ask("third")
    async with operator(queue) as socket, V1Worker(queue.worker_url, "other"):
        await socket.send(Catalogue(models=["m"]).model_dump_json())
        with pytest.raises(openai.NotFoundError, match="'nope' does not exist") as told:
            await unreal
        assert "other" not in told.value.message, "its key may have no right to know"
        assert (await readiness(queue))[0] == 200
        async with V1Worker(queue.worker_url, "m", credit=1) as worker:
            await worker.result(await worker.expect(wire.Job), body=PLAIN)
            await real
        with pytest.raises(openai.NotFoundError):
            await queue.ask("nope")
    assert queue.metric("headrace_queue_requests_total", model="m", status="200") == 1


async def test_a_missing_operator_is_not_waited_for_for_ever(start: Start) -> None:
    queue = await start(expect_operator=True, catalogue_seconds=0.2)
    with pytest.raises(openai.NotFoundError):
        await queue.ask("m")
    assert (await readiness(queue))[0] == 200
    assert any("no catalogue" in line["event"] for line in queue.logged())


async def test_without_that_option_no_operator_is_expected(start: Start) -> None:
    queue = await start(catalogue_seconds=0)
    assert (await readiness(queue))[0] == 200
    assert not any("no catalogue" in line["event"] for line in queue.logged())


async def test_a_queue_that_drains_lets_operators_and_clients_go_at_once(queue: Queue) -> None:
    async with V1Worker(queue.worker_url, "m", credit=1) as worker, operator(queue) as socket:
        task = queue.ask()
        job = await worker.expect(wire.Job)
        async with queue.http.get(f"{queue.url}/healthz") as response:
            assert "Connection" not in response.headers
        drained = asyncio.create_task(queue.server.drain())
        await worker.expect(wire.Drain)
        async with asyncio.timeout(1):
            await socket.wait_closed()
        assert not task.done()
        with pytest.raises(websockets.InvalidStatus, match="503"):
            await operator(queue)
        url = f"{queue.url}/v1/chat/completions"
        async with queue.http.post(url, json={"model": "m"}) as response:
            assert (response.status, response.headers["Connection"]) == (503, "close")
        for url in (f"{queue.url}/healthz", f"{queue.admin_url}/readyz", f"{queue.url}/v1/nothing"):
            async with queue.http.get(url) as response:
                assert response.headers["Connection"] == "close"
        async with V1Worker(queue.worker_url, "m"):
            pass  # a worker can still join: its results may be those of jobs from before
        await worker.result(job, body=PLAIN)
        await task
        await drained


async def test_the_connection_ends_after_a_refusal(queue: Queue) -> None:
    async with V1Worker(queue.worker_url, "m", credit=1) as worker:
        task = queue.ask()
        job = await worker.expect(wire.Job)
        drained = asyncio.create_task(queue.server.drain())
        await worker.expect(wire.Drain)
        reader, writer = await asyncio.open_connection("127.0.0.1", queue.server.port)
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
        async with asyncio.timeout(1):
            assert b" 503 " in await reader.read(), "read to the end of the connection"
        writer.close()
        await worker.result(job, body=PLAIN)
        await task
        await drained
