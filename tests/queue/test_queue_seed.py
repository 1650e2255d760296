"""Workers that know only the seed's document."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest
import seed_worker
import websockets
from queue_setup import Queue, Start, eventually
from v1_worker import V1Worker

from headrace_api.wire import CLOSE_BAD_REGISTRATION, CLOSE_BAD_TOKEN, Gpu, Registration
from headrace_queue.seed_socket import read_reply


@asynccontextmanager
async def joined(queue: Queue, token: str | None = None) -> AsyncIterator[None]:
    task = asyncio.create_task(seed_worker.work(queue.worker_url, token))
    await eventually(lambda: queue.server.dispatcher.schedule.generalists == 1)
    yield
    assert not task.done(), task
    task.cancel()
    await asyncio.wait([task])
    await eventually(lambda: queue.server.dispatcher.schedule.generalists == 0)


@asynccontextmanager
async def raw_worker(queue: Queue) -> AsyncIterator[websockets.ClientConnection]:
    async with websockets.connect(queue.worker_url) as socket:
        await socket.send(json.dumps(seed_worker.REGISTRATION))
        yield socket


async def test_answers_plainly(queue: Queue) -> None:
    async with joined(queue):
        answer = await queue.ask("TheBloke/CoolModelv2:Q4_K_M")
    assert answer.choices[0].message.content == seed_worker.ANSWER
    assert answer.usage.total_tokens == 87
    assert answer.object == "chat.completion"
    assert answer.id.startswith("chatcmpl-")
    assert answer.model == "TheBloke/CoolModelv2:Q4_K_M"
    assert queue.metric("headrace_queue_requests_total", model="other", status="200") == 1
    assert queue.metric("headrace_queue_tokens_total", model="other", kind="completion") == 31


@pytest.mark.parametrize("usage", [False, True])
async def test_answers_as_a_stream(queue: Queue, usage: bool) -> None:
    async with joined(queue):
        options: dict[str, Any] = {"stream_options": {"include_usage": True}} if usage else {}
        stream = await queue.ask(stream=True, **options)
        chunks = [chunk async for chunk in stream]
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == seed_worker.ANSWER
    assert chunks[0].choices[0].delta.role == "assistant"
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert bool(chunks[-1].usage and chunks[-1].usage.total_tokens == 87) is usage


async def test_gets_one_request_at_a_time(queue: Queue) -> None:
    async with raw_worker(queue) as socket:
        await eventually(lambda: queue.server.dispatcher.schedule.generalists == 1)
        first, second = queue.ask(stream=True), queue.ask()
        request = json.loads(await socket.recv())
        assert request["openai_url"] == "/v1/chat/completion"
        assert set(request["openai_req"]) == {"model", "messages", "stream"}
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await socket.recv()
        reply = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}]}
        for _ in range(2):
            await socket.send(json.dumps(reply))
            await asyncio.sleep(0.05)
        await first
        assert (await second).choices[0].message.content == "x"


CHUNKS: list[dict[str, Any]] = [
    {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hel"}, "finish_reason": None}]},
    {"choices": [{"index": 0, "delta": {"content": "lo"}, "finish_reason": "stop"}]},
    {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}},
]


@pytest.mark.parametrize("usage", [False, True])
async def test_a_stream_is_one_message_for_each_event_and_an_empty_object(queue: Queue, usage: bool) -> None:
    options: dict[str, Any] = {"stream_options": {"include_usage": True}} if usage else {}
    async with raw_worker(queue) as socket:
        asking = queue.ask(stream=True, **options)
        assert json.loads(await socket.recv())["openai_req"]["stream"] is True
        await socket.send(json.dumps(CHUNKS[0]))
        stream = await asking
        first = await anext(stream)  # before the worker goes on
        assert (first.choices[0].delta.content, first.object) == ("Hel", "chat.completion.chunk")
        for chunk in (*CHUNKS[1:], {}):
            await socket.send(json.dumps(chunk))
        rest = [chunk async for chunk in stream]
        assert {chunk.created for chunk in rest} == {first.created}, "of one answer"
        assert abs(first.created - time.time()) < 60
        assert [chunk.choices[0].delta.content for chunk in rest if chunk.choices] == ["lo"]
        assert [chunk.usage.total_tokens for chunk in rest if chunk.usage] == [5] * usage
        assert queue.metric("headrace_queue_tokens_total", model="other", kind="completion") == 2
        again = queue.ask()
        assert "stream" not in json.loads(await socket.recv())["openai_req"]
        await socket.send(json.dumps({"choices": [{"message": {"content": "x"}}]}))
        await again


async def test_an_error_in_a_stream_ends_it(queue: Queue) -> None:
    async with raw_worker(queue) as socket:
        asking = queue.ask(stream=True)
        await socket.recv()
        await socket.send(json.dumps(CHUNKS[0]))
        stream = await asking
        await socket.send(json.dumps({"error": "out of memory", "error_type": "server_error"}))
        with pytest.raises(openai.APIError, match="out of memory"):
            [chunk async for chunk in stream]


async def test_a_reply_to_a_client_that_left_is_dropped(queue: Queue) -> None:
    async with raw_worker(queue) as socket:
        await eventually(lambda: queue.server.dispatcher.schedule.generalists == 1)
        gone = queue.ask()
        await socket.recv()
        gone.cancel()
        await eventually(lambda: queue.server.dispatcher.schedule.running == 0)
        waiting = queue.ask()
        await eventually(lambda: queue.server.dispatcher.schedule.waiting == 1)
        for content in ("for the one that left", "for the second"):
            reply = {"choices": [{"message": {"role": "assistant", "content": content}}]}
            await socket.send(json.dumps(reply))
            await asyncio.sleep(0.05)
        assert (await waiting).choices[0].message.content == "for the second"


async def test_lost_worker_request_goes_to_the_next(queue: Queue) -> None:
    async with raw_worker(queue) as socket:
        await eventually(lambda: queue.server.dispatcher.schedule.generalists == 1)
        task = queue.ask()
        await socket.recv()
        async with asyncio.TaskGroup() as group:
            group.create_task(socket.close())
    assert queue.server.dispatcher.schedule.generalists == 0 or not task.done()
    async with joined(queue):
        assert (await task).choices[0].message.content == seed_worker.ANSWER


async def test_a_dedicated_worker_comes_before_a_generalist(queue: Queue) -> None:
    async with joined(queue), V1Worker(queue.worker_url, "m"):
        await eventually(lambda: queue.server.dispatcher.schedule.has_dedicated("m"))
        waits = queue.ask("m")
        await eventually(lambda: queue.server.dispatcher.schedule.waiting == 1)
        assert (await queue.ask("other")).choices[0].message.content == seed_worker.ANSWER
        assert not waits.done()
        waits.cancel()


async def test_patterns_limit_generalists(start: Start) -> None:
    queue = await start(generalist_models=("llama*",))
    async with joined(queue):
        await queue.ask("llama2")
        with pytest.raises(openai.NotFoundError):
            await queue.ask("gpt-2")


async def test_other_endpoints_are_refused_in_words(queue: Queue) -> None:
    async with joined(queue):
        with pytest.raises(openai.BadRequestError, match="nothing but /v1/chat/completions"):
            await queue.client.embeddings.create(model="m", input="x")
        await queue.ask()


@pytest.mark.parametrize(
    "facts",
    [
        {"nv_gpus": None, "cl_gpus": None},
        {"nv_gpus": [{"memory": 11441}], "cl_gpus": [{"name": None, "vendor": "x"}]},
        {"nv_gpus": [{"name": "NVIDIA Tesla K80", "memory": 11441.5}]},
    ],
)
async def test_whatever_the_document_allows_about_gpus_is_accepted(queue: Queue, facts: dict[str, Any]) -> None:
    async with websockets.connect(queue.worker_url) as socket:
        await socket.send(json.dumps({**seed_worker.REGISTRATION, **facts}))
        await eventually(lambda: queue.server.dispatcher.schedule.generalists == 1)


def test_a_registration_has_exactly_the_documents_fields() -> None:
    gpus = [Gpu(name="NVIDIA Tesla K80", memory=11441)]
    sent = Registration(**{**seed_worker.REGISTRATION, "nv_gpus": gpus}).model_dump_json()
    assert json.loads(sent) == {**seed_worker.REGISTRATION, "cl_driver_version": None, "cl_gpus": []}
    assert '"memory":11441}' in sent


async def test_a_request_over_the_workers_own_limit_is_not_tried_again(queue: Queue) -> None:
    async with raw_worker(queue), raw_worker(queue):  # both accept messages of 1 MiB at most
        await eventually(lambda: queue.server.dispatcher.schedule.generalists == 2)
        with pytest.raises(openai.APIStatusError, match="larger than the worker accepts") as caught:
            await queue.ask(user="x" * 2**20)
        assert (caught.value.status_code, caught.value.code) == (413, "request_too_large")
        await eventually(lambda: queue.server.dispatcher.schedule.generalists == 1)
        assert queue.metric("headrace_queue_worker_disconnects_total", protocol="seed") == 1


@pytest.mark.parametrize(
    ("message", "field"),
    [("{}", "cpu_count"), ("not json", "JSON"), ('{"cpu_count": "many", "disk_space": 1, "vram": 1}', "cpu_count")],
)
async def test_bad_registration_is_refused(queue: Queue, message: str, field: str) -> None:
    async with websockets.connect(queue.worker_url) as socket:
        await socket.send(message)
        with pytest.raises(websockets.ConnectionClosedError) as caught:
            await socket.recv()
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == CLOSE_BAD_REGISTRATION
    assert field in caught.value.rcvd.reason


async def test_a_subprotocol_that_is_not_spoken_is_refused_in_words(queue: Queue) -> None:
    offer = [websockets.Subprotocol("headrace.v2")]
    with pytest.raises(websockets.InvalidStatus) as caught:
        await websockets.connect(queue.worker_url, subprotocols=offer)
    assert caught.value.response.status_code == 400
    words = json.loads(caught.value.response.body)["error"]["message"]
    assert ("headrace.v2" in words, "headrace.v1" in words) == (True, True)


async def test_wrong_token_is_refused_before_the_upgrade(start: Start) -> None:
    queue = await start(worker_token="right")
    with pytest.raises(websockets.InvalidStatus) as caught:
        await seed_worker.work(queue.worker_url, "wrong")
    assert caught.value.response.status_code == 401
    async with joined(queue, "right"):
        await queue.ask()


@pytest.mark.parametrize("key", [None, "wrong"])
async def test_without_a_header_the_registration_may_have_the_token(start: Start, key: str | None) -> None:
    queue = await start(worker_token="right")
    async with websockets.connect(queue.worker_url) as socket:
        await socket.send(json.dumps({**seed_worker.REGISTRATION, "auth_key": key, "unheard": "of"}))
        with pytest.raises(websockets.ConnectionClosedError) as caught:
            await socket.recv()
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == CLOSE_BAD_TOKEN
    async with websockets.connect(queue.worker_url) as socket:
        await socket.send(json.dumps({**seed_worker.REGISTRATION, "auth_key": "right"}))
        asking = queue.ask()
        assert json.loads(await socket.recv())["openai_req"]["messages"]
        await socket.send(json.dumps({"choices": [{"message": {"content": "hello"}}]}))
        assert (await asking).choices[0].message.content == "hello"


@pytest.mark.parametrize(
    ("reply", "status", "words"),
    [
        ("nonsense", 502, "not JSON"),
        ("[]", 502, "not an object"),
        ('{"choices": []}', 502, "choices"),
        ('{"choices": [{"text": "x"}]}', 502, r"choices\[0\]"),
        ('{"error": "out of memory"}', 502, "out of memory"),
        ('{"error": "too long", "error_type": "invalid_request_error"}', 400, "too long"),
        ('{"error": {"message": "too long", "type": "invalid_request_error"}}', 400, "too long"),
        ('{"error": {"message": "busy", "code": 429}}', 429, "busy"),
    ],
)
async def test_replies_that_are_no_answers(queue: Queue, reply: str, status: int, words: str) -> None:
    async with raw_worker(queue) as socket:
        await eventually(lambda: queue.server.dispatcher.schedule.generalists == 1)
        task = queue.ask(stream=True)
        await socket.recv()
        await socket.send(reply)
        with pytest.raises(openai.APIStatusError, match=words) as caught:
            await task
    assert caught.value.status_code == status


def test_a_count_that_cannot_be_read_does_not_lose_the_answer() -> None:
    reply: dict[str, Any] = {"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": "many"}}
    end = read_reply(json.dumps(reply))
    assert (end.status, end.usage) == (200, None)
