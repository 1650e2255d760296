"""The rest of an answer that another worker has begun is bounded, also by what its request does not say."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from headrace_api.wire import Usage
from headrace_api.worker_config import Generation, Generator
from headrace_worker.answering import Ends, Outcome
from headrace_worker.engine_client import Dialect, EngineClient
from headrace_worker.engines.protocol import CHAT_PATH, COMPLETIONS_PATH, Counting, text_api
from headrace_worker.engines.vllm import Vllm
from tests.worker.scripted_engine import DONE, ScriptedEngine

VLLM = Vllm().api(Generator(type="VLLMEngine", model_id="m")).completion_tokens
CHAT = {"messages": [{"role": "user", "content": "quick"}]}


async def rest(
    engine: ScriptedEngine, said: int, path: str, request: dict[str, Any], *, limit: int | None, kwargs: dict[str, Any]
) -> tuple[Outcome, list[bytes]]:
    api = replace(text_api(), continues=True, completion_tokens=limit, counting=Counting())
    pieces: list[bytes] = []
    done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    async with aiohttp.ClientSession() as session:
        dialect = Dialect("m", generation=Generation(generate_kwargs=kwargs), api=api)
        client = EngineClient(session, engine.url, dialect)
        client.begin(path, {"stream": True, **request}, Ends(pieces.append, done.set_result, pytest.fail), said)
        return await asyncio.wait_for(done, 10), pieces


@pytest.mark.parametrize(
    ("path", "more", "limit", "kwargs", "expected"),
    [
        (COMPLETIONS_PATH, {}, VLLM, {}, {"max_tokens": 6}),
        (COMPLETIONS_PATH, {"max_tokens": None}, VLLM, {}, {"max_tokens": 6}),
        (COMPLETIONS_PATH, {"max_tokens": 3}, VLLM, {}, {"max_tokens": 3}),
        (COMPLETIONS_PATH, {}, VLLM, {"max_new_tokens": 12}, {"max_tokens": 2}),
        (COMPLETIONS_PATH, {}, None, {}, {}),
        (CHAT_PATH, {}, VLLM, {}, {}),
        (CHAT_PATH, {}, VLLM, {"max_new_tokens": 12}, {"max_tokens": 2}),
        (CHAT_PATH, {}, None, {"max_completion_tokens": 12}, {"max_completion_tokens": 2}),
        (CHAT_PATH, {"max_completion_tokens": 3}, None, {"max_new_tokens": 12}, {"max_completion_tokens": 3}),
    ],
)
async def test_what_has_been_said_counts(
    engine: ScriptedEngine,
    *,
    path: str,
    more: dict[str, Any],
    limit: int | None,
    kwargs: dict[str, Any],
    expected: dict[str, int],
) -> None:
    done, _ = await rest(engine, 10, path, {**CHAT, **more}, limit=limit, kwargs=kwargs)
    assert done.status == 200
    (asked,) = engine.requests
    assert {name: value for name, value in asked.items() if name.startswith("max_")} == expected


@pytest.mark.parametrize(("prompt", "tokens"), [("four", 16), ("x" * 40, 40), ("bad", 16)])
async def test_where_nothing_may_be_said_the_stream_ends_as_any_other(
    engine: ScriptedEngine, prompt: str, tokens: int
) -> None:
    asked = {"prompt": prompt, "stream_options": {"include_usage": True}}
    done, pieces = await rest(engine, 16, COMPLETIONS_PATH, asked, limit=VLLM, kwargs={})
    assert done == Outcome(200, Usage(prompt_tokens=tokens, total_tokens=tokens))
    *events, end = b"".join(pieces).split(b"\n\n")[:-1]
    finish, usage = (json.loads(event.removeprefix(b"data: ")) for event in events)
    assert finish["choices"] == [{"index": 0, "text": "", "finish_reason": "length"}]
    assert (usage["choices"], usage["usage"]["prompt_tokens"]) == ([], tokens)
    assert end + b"\n\n" == DONE
    assert all("prompt" in body and "stream" not in body for body in engine.requests), "it has only counted"


async def test_a_chat_ends_with_a_delta_and_its_usage_is_kept_where_nobody_asked(engine: ScriptedEngine) -> None:
    done, pieces = await rest(engine, 16, CHAT_PATH, CHAT, limit=None, kwargs={"max_new_tokens": 10})
    assert done.status == 200
    finish, end = b"".join(pieces).split(b"\n\n")[:-1]
    assert json.loads(finish.removeprefix(b"data: "))["choices"] == [
        {"index": 0, "delta": {}, "finish_reason": "length"}
    ]
    assert end + b"\n\n" == DONE
