"""How many tokens the prompt of a request has, where the engine is asked without answering it."""

from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from headrace_worker import engine_client
from headrace_worker.engine_client import Dialect, EngineClient
from headrace_worker.engines.protocol import CHAT_PATH, COMPLETIONS_PATH, EMBEDDINGS_PATH, Counting, text_api
from tests.worker.scripted_engine import ScriptedEngine

DIRECT, BY_TEMPLATE = Counting(), Counting("/template", {"add_special": True})
CHAT = {"messages": [{"role": "user", "content": "four"}, {"role": "user", "content": "2"}]}


@pytest.mark.parametrize(
    ("counting", "path", "request_body", "expected"),
    [
        (DIRECT, CHAT_PATH, CHAT, 4),
        (BY_TEMPLATE, CHAT_PATH, CHAT, len("<four><2>")),
        (BY_TEMPLATE, COMPLETIONS_PATH, {"prompt": "text"}, 4),
        (DIRECT, COMPLETIONS_PATH, {"prompt": ["text", "more"]}, 8),
        (DIRECT, COMPLETIONS_PATH, {"prompt": [7, 8, 9]}, 3),
        (DIRECT, COMPLETIONS_PATH, {"prompt": [[7, 8], [9]]}, 3),
        (DIRECT, COMPLETIONS_PATH, {"prompt": []}, 0),
        (DIRECT, COMPLETIONS_PATH, {"prompt": None}, 0),
        (DIRECT, COMPLETIONS_PATH, {"prompt": "bad"}, 0),
        (DIRECT, COMPLETIONS_PATH, {"prompt": "held"}, 0),
        (DIRECT, EMBEDDINGS_PATH, {"input": "text"}, 0),
        (None, CHAT_PATH, CHAT, 0),
    ],
)
async def test_what_the_engine_says(
    engine: ScriptedEngine,
    monkeypatch: pytest.MonkeyPatch,
    *,
    counting: Counting | None,
    path: str,
    request_body: dict[str, Any],
    expected: int,
) -> None:
    if request_body.get("prompt") == "held":
        monkeypatch.setattr(engine_client, "_COUNTING_S", 0.01)
    dialect = Dialect("m", api=replace(text_api(), counting=counting))
    async with aiohttp.ClientSession() as session:
        client = EngineClient(session, engine.url, dialect)
        assert await client.prompt_tokens(path, {"model": "m", **request_body}) == expected
    if counting is BY_TEMPLATE:
        assert all(body["add_special"] for body in engine.requests)


async def test_an_engine_that_is_gone_says_nothing() -> None:
    async with aiohttp.ClientSession() as session:
        client = EngineClient(session, "http://127.0.0.1:9", Dialect("m", api=replace(text_api(), counting=DIRECT)))
        assert await client.prompt_tokens(COMPLETIONS_PATH, {"model": "m", "prompt": "text"}) == 0
