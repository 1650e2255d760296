"""What is known, what may wait, for how long, and what clients are told when it cannot be."""

import asyncio
import json
from typing import Any

import openai
import pytest
from queue_setup import PLAIN, Queue, Start, chunk, eventually
from v1_worker import V1Worker

from headrace_api import wire


async def test_unknown_model(queue: Queue) -> None:
    async with V1Worker(queue.worker_url, "org/m"):
        with pytest.raises(openai.NotFoundError, match=r"'nope' does not exist.*org/m") as caught:
            await queue.ask("nope")
        assert caught.value.code == "model_not_found"
        assert [model.id async for model in await queue.client.models.list()] == ["org/m"]
        assert (await queue.client.models.retrieve("org/m")).id == "org/m"
        with pytest.raises(openai.NotFoundError):
            await queue.client.models.retrieve("org/n")
    assert queue.metric("headrace_queue_requests_total", model="other", status="404") == 1


async def test_held_until_a_worker_joins(start: Start) -> None:
    queue = await start(models=("m",))
    task = queue.ask()
    await eventually(lambda: queue.server.dispatcher.schedule.waiting == 1)
    async with V1Worker(queue.worker_url, "m", credit=1) as worker:
        await worker.result(await worker.expect(wire.Job), body=PLAIN)
        await task


async def test_held_for_so_long_only(start: Start) -> None:
    queue = await start(models=("m",), hold_seconds=0.1)
    with pytest.raises(openai.InternalServerError, match=r"within 0\.1 s") as caught:
        await queue.ask()
    assert caught.value.status_code == 503
    assert int(caught.value.response.headers["retry-after"]) > 0
    assert queue.server.dispatcher.schedule.waiting == 0


async def test_a_whole_request_takes_so_long_only(start: Start) -> None:
    queue = await start(request_seconds=0.2)
    async with V1Worker(queue.worker_url, "m", credit=1) as worker:
        task = queue.ask()
        job = await worker.expect(wire.Job)
        with pytest.raises(openai.InternalServerError, match=r"within 0\.2 s"):
            await task
        assert (await worker.expect(wire.Cancel)).job == job.job


@pytest.mark.slow
async def test_only_so_many_wait(start: Start) -> None:
    queue = await start(max_waiting=2)
    async with V1Worker(queue.worker_url, "m", credit=1) as worker:
        first = queue.ask()
        job = await worker.expect(wire.Job)
        waiting = [queue.ask() for _ in range(2)]
        await eventually(lambda: queue.server.dispatcher.schedule.waiting == 2)
        with pytest.raises(openai.RateLimitError, match="2 requests wait") as caught:
            await queue.ask()
        assert int(caught.value.response.headers["retry-after"]) > 0
        await worker.send(wire.Credit(n=2))
        for each in (job, *[await worker.expect(wire.Job) for _ in waiting]):
            await worker.result(each, body=PLAIN)
        await asyncio.gather(first, *waiting)


async def test_only_so_many_bytes_wait(start: Start) -> None:
    queue = await start(models=("m",), max_waiting_bytes=2000)
    small = queue.ask()
    await eventually(lambda: queue.server.dispatcher.schedule.waiting == 1)
    with pytest.raises(openai.RateLimitError):
        await queue.ask(user="x" * 2000)
    small.cancel()
    await eventually(lambda: queue.server.dispatcher.schedule.waiting == 0)
    fits = queue.ask(user="x" * 1700)
    await eventually(lambda: queue.server.dispatcher.schedule.waiting == 1)
    fits.cancel()


async def test_what_can_run_at_once_does_not_count_as_waiting(start: Start) -> None:
    queue = await start(max_waiting=0, max_waiting_bytes=0)
    async with V1Worker(queue.worker_url, "m", credit=1) as worker:
        await asyncio.sleep(0.05)
        task = queue.ask()
        await worker.result(await worker.expect(wire.Job), body=PLAIN)
        await task


CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "x"}]}


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        (b"{", None, "line 1 column 1"),
        (b"[]", None, "one JSON object"),
        (b"{}, {}", None, "JSON"),
        (b'{"model": NaN}', None, "JSON"),
        (b"\xff", None, "UTF-8"),
        (b'{"a":' * 199 + b"1" + b"}" * 199, None, "model"),
        (b'{"a":' * 200 + b"1" + b"}" * 200, None, "nested too deeply"),
        ({"messages": CHAT["messages"]}, "model", "missing"),
        ({**CHAT, "model": 3}, "model", "is 3: it must be the name"),
        ({**CHAT, "stream": "yes"}, "stream", "'yes': it must be true or false"),
        ({**CHAT, "messages": "hi"}, "messages", "list"),
        ({**CHAT, "messages": ["hi"]}, "messages[0]", "role"),
        ({**CHAT, "stream_options": 1}, "stream_options", "an object"),
    ],
)
async def test_a_bad_body_names_the_field(queue: Queue, body: Any, param: str | None, words: str) -> None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with queue.http.post(f"{queue.url}/v1/chat/completions", data=raw) as response:
        assert response.status == 400
        assert response.headers["x-request-id"]
        error = (await response.json())["error"]
    assert words in error["message"]
    assert error["type"] == "invalid_request_error"
    assert error["param"] == (param or ("model" if words == "model" else None))


async def test_a_body_that_is_too_large(start: Start) -> None:
    queue = await start(models=("m",), max_request_bytes=1000)
    with pytest.raises(openai.APIStatusError, match="1000 bytes") as caught:
        await queue.ask(user="x" * 1000)
    assert caught.value.status_code == 413


async def test_other_paths_and_methods_have_the_same_shape(queue: Queue) -> None:
    for path, status in (("/v1/nothing", 404), ("/v1/chat/completions", 405)):
        async with queue.http.get(queue.url + path) as response:
            assert response.status == status
            assert (await response.json())["error"]["message"].startswith(f"GET {path}")


async def test_a_client_that_does_not_read_is_cut_off(start: Start) -> None:
    queue = await start(client_buffer_bytes=2**20)
    async with V1Worker(queue.worker_url, "m", credit=1) as worker:
        reader, writer = await asyncio.open_connection("127.0.0.1", queue.server.port, limit=1024)
        body = json.dumps({**CHAT, "stream": True}).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        job = await worker.expect(wire.Job)
        await worker.pieces((job.job, chunk("x")))
        await reader.readuntil(b"\r\n\r\n")
        piece = chunk("x" * 2**18)
        for _ in range(64):  # far more than the buffers of both sockets and the queue hold together
            await worker.pieces((job.job, piece))
        assert (await worker.expect(wire.Cancel)).job == job.job
        await worker.result(job, status=499)
        writer.close()
        await asyncio.wait([asyncio.create_task(writer.wait_closed())])
    await eventually(lambda: queue.metric("headrace_queue_requests_total", model="m", status="499") == 1)


async def test_an_unstreamed_answer_that_is_too_large(start: Start) -> None:
    queue = await start(client_buffer_bytes=1000)
    async with V1Worker(queue.worker_url, "m", credit=1) as worker:
        task = queue.ask()
        job = await worker.expect(wire.Job)
        await worker.pieces((job.job, b"x" * 1001))
        with pytest.raises(openai.InternalServerError, match="1000 bytes"):
            await task
        await worker.expect(wire.Cancel)


async def test_logs_tell_of_requests_but_not_of_prompts(queue: Queue) -> None:
    async with V1Worker(queue.worker_url, "m", credit=1) as worker:
        task = queue.ask()
        job = await worker.expect(wire.Job)
        await worker.result(job, body=PLAIN, usage=wire.Usage(prompt_tokens=3, completion_tokens=2, total_tokens=5))
        await task
    await eventually(lambda: any(line["event"] == "request" for line in queue.logged()))
    line = next(line for line in queue.logged() if line["event"] == "request")
    assert line["request_id"] == job.request_id
    assert (line["model"], line["status"], line["prompt_tokens"], line["completion_tokens"]) == ("m", 200, 3, 2)
    assert line["ms"] > 0
    assert "world series" not in queue.log.getvalue()
