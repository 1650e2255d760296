"""What the official client sends and reads: every parameter reaches the worker, every shape comes back."""

import asyncio
import json
from typing import Any

import openai
import pytest
from queue_setup import DONE, Queue
from raw_http import RawClient
from v1_worker import V1Worker

from headrace_api import wire

HEAD = {"id": "1", "created": 1, "model": "m"}
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
CALL = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}
LOGPROBS = {"content": [{"token": "x", "logprob": -0.5, "bytes": [120], "top_logprobs": []}]}
MESSAGES: Any = [
    {"role": "system", "content": "é \U0001f600"},
    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]},
]
PARAMETERS: dict[str, Any] = {
    "n": 2,
    "tools": [TOOL],
    "tool_choice": "auto",
    "parallel_tool_calls": False,
    "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}},
    "logprobs": True,
    "top_logprobs": 1,
    "logit_bias": {"50256": -100},
    "seed": 2**53,
    "stop": ["a", "b"],
    "temperature": 1e-7,
    "user": "u",
}
EXTRA = {"guided_regex": "[a-z]+", "chat_template_kwargs": {"deep": [None, {"x": 1.0}]}}


async def asked(worker: V1Worker, url: str, expected: dict[str, Any]) -> wire.Job:
    job = await worker.expect(wire.Job)
    assert (job.openai_url, job.openai_req) == (url, expected)
    return job


async def test_a_chat_with_everything(queue: Queue) -> None:
    sent = {"model": "m", "messages": MESSAGES, **PARAMETERS}
    messages = [{"role": "assistant", "content": None, "tool_calls": [CALL]}, {"role": "assistant", "content": "x"}]
    choices = [
        {"index": index, "message": message, "finish_reason": "stop", "logprobs": LOGPROBS}
        for index, message in enumerate(messages)
    ]
    async with V1Worker(queue.worker_url, "m", credit=1) as worker:
        create: Any = queue.client.chat.completions.create
        task = asyncio.create_task(create(**sent, extra_body=EXTRA))
        job = await asked(worker, "/v1/chat/completions", sent | EXTRA)
        await worker.result(job, body={**HEAD, "object": "chat.completion", "choices": choices, "usage": USAGE})
        answer = await task
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert answer.choices[0].message.tool_calls[0].function.name == "look"
    assert answer.choices[1].logprobs.content[0].logprob == -0.5
    assert answer.usage.total_tokens == 5
    assert answer._request_id == job.request_id


async def test_a_stream_with_usage(queue: Queue) -> None:
    sent = {"model": "m", "messages": MESSAGES, "stream": True, "stream_options": {"include_usage": True}}
    one = {"index": 0, "delta": {"tool_calls": [{"index": 0, **CALL}]}, "finish_reason": None}
    async with V1Worker(queue.worker_url, "m", credit=1) as worker:
        create: Any = queue.client.chat.completions.create
        task = asyncio.create_task(create(**sent))
        job = await asked(worker, "/v1/chat/completions", sent)
        for choices, usage in (([one], None), ([], USAGE)):
            await worker.pieces((job.job, event({"choices": choices, "usage": usage})))
        await worker.pieces((job.job, DONE))
        await worker.result(job, usage=wire.Usage(**USAGE))
        chunks = [chunk async for chunk in await task]
    assert chunks[0].choices[0].delta.tool_calls[0].function.name == "look"
    assert chunks[1].usage.completion_tokens == 2


async def test_completions_streamed_and_not(queue: Queue) -> None:
    sent: dict[str, Any] = {"model": "m", "prompt": ["a", "b"], "max_tokens": 3, "logprobs": 1, "echo": True}
    choice = {"index": 0, "text": "x", "finish_reason": "stop", "logprobs": None}
    async with V1Worker(queue.worker_url, "m", credit=2) as worker:
        create: Any = queue.client.completions.create
        task = asyncio.create_task(create(**sent))
        job = await asked(worker, "/v1/completions", sent)
        await worker.result(job, body={**HEAD, "object": "text_completion", "choices": [choice]})
        assert (await task).choices[0].text == "x"
        task = asyncio.create_task(create(**sent, stream=True))
        job = await asked(worker, "/v1/completions", sent | {"stream": True})
        await worker.pieces((job.job, event({"choices": [choice]}, "text_completion") + DONE))
        await worker.result(job)
        assert [chunk.choices[0].text async for chunk in await task] == ["x"]


async def test_embeddings_as_the_client_likes_them_best(queue: Queue) -> None:
    sent: dict[str, Any] = {"model": "m", "input": [[1, 2], [3]], "dimensions": 2, "encoding_format": "base64"}
    async with V1Worker(queue.worker_url, "m", credit=1) as worker:
        task = asyncio.create_task(queue.client.embeddings.create(**sent))
        job = await asked(worker, "/v1/embeddings", sent)
        data = [{"object": "embedding", "index": 0, "embedding": "AAAAPw=="}]
        await worker.result(job, body={"object": "list", "model": "m", "data": data, "usage": USAGE})
        assert (await task).data[0].embedding == "AAAAPw=="


async def test_what_has_no_stream_says_so(queue: Queue) -> None:
    async with V1Worker(queue.worker_url, "m", credit=1), RawClient(queue.server.port) as client:
        for path in ("/v1/embeddings", "/tokenize"):
            client.post({"model": "m", "input": "x", "stream": True}, path)
            answer = await client.response()
            assert (answer.status, answer.error["param"]) == (400, "stream")
        with pytest.raises(openai.BadRequestError, match="no streams"):
            await queue.client.embeddings.create(model="m", input="x", extra_body={"stream": True})


def event(data: dict[str, Any], kind: str = "chat.completion.chunk") -> bytes:
    return b"data: " + json.dumps({**HEAD, "object": kind, **data}).encode() + b"\n\n"
