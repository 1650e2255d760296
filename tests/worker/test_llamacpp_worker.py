"""The whole worker with a real llama.cpp engine on the sample model."""

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from msgspec.structs import replace
from websockets.asyncio.server import serve

from headrace_api.wire import Cancel, Credit, Drain, HandBack, Result, Usage
from tests.waiting import until
from tests.worker.scripted_queue import Connection, ScriptedQueue
from tests.worker.seed_spider import Spider, url
from tests.worker.worker_process import GGUF, WorkerProcess, all_gone, worker

pytestmark = pytest.mark.engine

QUESTION = "Who won the world series in 2020?"
ANSWER = "The Los Angeles Dodgers won the World Series in 2020."
GENERATOR = {"type": "LlamaCppEngine", "model_id": str(GGUF), "max_total_tokens": 256}
START_S = 60
ENDLESS: dict[str, Any] = {"stream": True, "ignore_eos": True, "max_tokens": 200, "temperature": 0}


@contextlib.asynccontextmanager
async def serving(folder: Path, queue: ScriptedQueue) -> AsyncIterator[tuple[WorkerProcess, Connection]]:
    async with worker(folder, queue.url, GENERATOR) as process:
        connection = await queue.connection()
        _, credit = await connection.greet()
        assert credit.n == 4
        await process.until_ready(START_S)
        yield process, connection


def text_of(stream: bytes) -> str:
    events = [event.removeprefix(b"data: ") for event in stream.split(b"\n\n") if event]
    assert events.pop() == b"[DONE]"
    deltas = [choice["delta"] for event in events for choice in json.loads(event)["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)


async def test_answers_streamed_and_whole_then_leaves_on_sigterm(tmp_path: Path, queue: ScriptedQueue) -> None:
    async with serving(tmp_path, queue) as (process, connection):
        await connection.ask(1, QUESTION, stream=True, temperature=0)
        streamed = await connection.expect(Result)
        await connection.ack("request-1")
        await connection.expect(Credit)
        await connection.ask(2, QUESTION, temperature=0)
        whole = await connection.expect(Result)
        await connection.ack("request-2")
        await connection.expect(Credit)
        assert text_of(connection.answers[1]) == ANSWER
        assert json.loads(connection.answers[2])["choices"][0]["message"]["content"] == ANSWER
        assert streamed.usage
        assert streamed.usage.cached_tokens < whole.usage.cached_tokens < whole.usage.prompt_tokens
        assert streamed.usage == replace(whole.usage, cached_tokens=streamed.usage.cached_tokens)
        assert streamed.usage.completion_tokens > 5
        assert 'requests_total{status="200"} 2.0' in (await process.probe("/metrics"))[1]

        await connection.ask(3, "word " * 600)
        too_long = await connection.expect(Result)
        await connection.expect(Credit)
        assert too_long.status == 400
        assert too_long.body
        assert "context" in too_long.body["error"]["message"]
        await connection.ack("request-3")

        children = process.children()
        assert children
        process.process.send_signal(signal.SIGTERM)
        await connection.expect(Drain)
        assert await process.exit_status() == 0
        assert await all_gone(children)
        assert QUESTION not in process.log.read_text()
        assert process.process.stdout
        assert await process.process.stdout.read() == b""


SAID: tuple[dict[str, Any], ...] = (
    {"temperature": 0},
    {"temperature": 0, "stream": True, "stream_options": {"include_usage": True}},
    {"temperature": 1.5, "seed": 7, "max_tokens": 30, "ignore_eos": True},
    {"temperature": 1.5, "seed": 7, "max_tokens": 30, "ignore_eos": True, "stream": True},
    {"temperature": 0, "logprobs": True, "top_logprobs": 3},
)
"""Requests whose answers are determined."""


async def same_as_the_engines_own(
    process: WorkerProcess, connection: Connection, first_job: int, **of_the_worker: Any
) -> None:
    """`of_the_worker`: what the worker's configuration adds to each request."""
    for job, more in enumerate(SAID, first_job):
        await connection.ask(job, QUESTION, **more)
        assert (await connection.expect(Result)).status == 200
        await connection.ack(f"request-{job}")
        await connection.expect(Credit)
        request = {"model": "public-name", "messages": [{"role": "user", "content": QUESTION}], **more, **of_the_worker}
        assert essence(connection.answers[job]) == essence(await process.ask_engine(request))


def essence(answer: bytes) -> dict[str, Any]:
    """What of an answer is not of this one request: no ids, no times, and not which tokens left together."""
    events = [event.removeprefix(b"data: ") for event in answer.split(b"\n\n") if event]
    bodies = [json.loads(event) for event in events if event != b"[DONE]"]
    choices = [choice for body in bodies for choice in body["choices"]]
    said = [choice.get("message") or choice.get("delta") or {} for choice in choices]
    counts = ("prompt_tokens", "completion_tokens", "total_tokens")  # not how many of them were in a cache
    return {
        "kinds": {(body["object"], body["model"]) for body in bodies},
        "text": "".join(part.get("content") or "" for part in said),
        "ends": [choice["finish_reason"] for choice in choices if choice.get("finish_reason")],
        "logprobs": [one for choice in choices for one in (choice.get("logprobs") or {}).get("content") or []],
        "usage": [[usage[key] for key in counts] for body in bodies if (usage := body.get("usage"))],
    }


async def test_answers_are_the_engines_own(tmp_path: Path, queue: ScriptedQueue) -> None:
    async with serving(tmp_path, queue) as (process, connection):
        await same_as_the_engines_own(process, connection, 1)
        await connection.ask_path("/tokenize", 10, prompt=QUESTION)
        assert (await connection.expect(Result)).status == 200
        direct = await process.ask_engine({"content": QUESTION}, "/tokenize")
        assert json.loads(connection.answers[10]) == json.loads(direct)
        assert len(json.loads(direct)["tokens"]) > 5
        assert "llamacpp:" in await process.engine_metrics()


async def cancelled(connection: Connection, path: str, first_job: int, request: dict[str, Any]) -> Usage:
    """Of a stream; on a slow machine one may be complete before it is cancelled."""
    for job in range(first_job, first_job + 10):
        connection.piece.clear()
        await connection.ask_path(path, job, **request, **ENDLESS)
        await connection.first_piece()
        await connection.send(Cancel(job=job))
        result = await connection.expect(Result)
        await connection.expect(Credit)
        await connection.ack(f"request-{job}")
        if result.status == 499:
            assert result.usage
            return result.usage
    raise AssertionError("no stream was cancelled")


async def told_of_what_is_cancelled(connection: Connection, first_job: int) -> None:
    """A stream that is cancelled has as many prompt tokens as the same request that is not."""
    chat = {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": QUESTION}]}
    asked = [("/v1/chat/completions", chat), ("/v1/completions", {"prompt": QUESTION})]
    for job, (path, request) in enumerate(asked, first_job):
        await connection.ask_path(path, job, **request, max_tokens=1)
        whole = (await connection.expect(Result)).usage
        await connection.expect(Credit)
        await connection.ack(f"request-{job}")
        usage = await cancelled(connection, path, 100 * job, request)
        assert whole
        assert usage.prompt_tokens == whole.prompt_tokens > 5
        assert 0 < usage.completion_tokens < ENDLESS["max_tokens"]


async def test_what_is_cancelled_is_accounted_for(tmp_path: Path, queue: ScriptedQueue) -> None:
    async with serving(tmp_path, queue) as (_, connection):
        await told_of_what_is_cancelled(connection, 1)


async def test_a_spider_is_served(tmp_path: Path) -> None:
    spider = Spider()
    async with serve(spider.accept, "127.0.0.1", 0) as server, worker(tmp_path, url(server), GENERATOR):
        connection, _ = await asyncio.wait_for(spider.workers.get(), START_S)
        answer = await spider.ask(connection, QUESTION)
        assert answer["choices"][0]["message"]["content"] == ANSWER
        assert answer["usage"]["total_tokens"] > 10


async def test_sigterm_while_the_queue_is_away(tmp_path: Path) -> None:
    async with worker(tmp_path, "http://127.0.0.1:9", GENERATOR) as process:
        await until(lambda: '"state": "ready"' in process.log.read_text(), START_S)
        assert "cannot reach the queue" in process.log.read_text()
        status, body = await process.probe("/readyz")
        assert (status, json.loads(body)["missing"]) == (503, ["not registered with the queue"])
        children = process.children()
        process.process.send_signal(signal.SIGTERM)
        assert await process.exit_status() == 0
        assert await all_gone(children)


@pytest.mark.parametrize(("refusal", "words"), [(401, "token (status 401)"), (4400, "registration (close code 4400)")])
async def test_a_refused_worker_gives_up_and_says_why(
    tmp_path: Path, queue: ScriptedQueue, refusal: int, words: str
) -> None:
    queue.refuse = refusal
    async with worker(tmp_path, queue.url, GENERATOR) as process:
        assert await process.exit_status(60) == 1
        first, *_ = process.termination_log.read_text().splitlines()
        assert first.startswith("the queue at ws://127.0.0.1:")
        assert first.endswith(f"refuses this worker's {words}")
        assert (await process.probe("/startedz"))[0] == 0


async def test_no_engine_outlives_a_killed_worker(tmp_path: Path, queue: ScriptedQueue) -> None:
    async with serving(tmp_path, queue) as (process, _):
        children = process.children()
        assert len(children) == 2
        process.process.kill()
        assert await all_gone(children)


async def test_a_killed_engine_fails_the_worker(tmp_path: Path, queue: ScriptedQueue) -> None:
    async with serving(tmp_path, queue) as (process, connection):
        engine = next(child for child in process.children() if "headrace_worker.engines.llamacpp_server" in cmd(child))
        await connection.ask(1, QUESTION, **ENDLESS)
        await connection.first_piece()
        engine.kill()
        ends = [await asyncio.wait_for(connection.messages.get(), 10) for _ in range(2)]
        results = [end for end in ends if isinstance(end, (Result, HandBack))]
        assert [type(end) for end in results] == [Result]
        assert results[0].status in {200, 502}  # 200 when all of the answer was out before the kill
        assert await process.exit_status() == 1
        message = process.termination_log.read_text()
        assert message.startswith("the engine was killed by SIGKILL while serving\n")
        assert "llama.cpp serves at" in message


def cmd(process: psutil.Process) -> str:
    arguments = process.cmdline()
    return "" if "guard.py" in " ".join(arguments) else " ".join(arguments)


async def test_an_engine_that_cannot_start_fails_the_worker(tmp_path: Path, queue: ScriptedQueue) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"this is not a model")
    async with worker(tmp_path, queue.url, {**GENERATOR, "model_id": str(broken)}) as process:
        assert await process.exit_status(START_S) == 1
        message = process.termination_log.read_text()
        assert "before it was ready" in message.splitlines()[0]
        assert "broken.gguf" in message


async def test_sigterm_while_the_engine_starts(tmp_path: Path, queue: ScriptedQueue) -> None:
    async with worker(tmp_path, queue.url, GENERATOR) as process:
        await until(lambda: "starting the engine" in process.log.read_text(), START_S)
        process.process.send_signal(signal.SIGTERM)
        assert await process.exit_status() == 0
        assert process.termination_log.read_text().startswith(
            "the worker was told to stop before its engine answered, "
        )


async def test_sigterm_while_the_queue_says_nothing(tmp_path: Path) -> None:
    async def listen_only(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(listen_only, "127.0.0.1", 0) as silent:
        port = silent.sockets[0].getsockname()[1]
        async with worker(tmp_path, f"http://127.0.0.1:{port}", GENERATOR) as process:
            await until(lambda: "the engine is ready" in process.log.read_text(), START_S)
            process.process.send_signal(signal.SIGTERM)
            assert await process.exit_status(8) == 0


async def test_generate_kwargs_reach_the_engine(tmp_path: Path, queue: ScriptedQueue) -> None:
    generator = {**GENERATOR, "generation": {"generate_kwargs": {"max_tokens": 2, "temperature": 0}}}
    async with worker(tmp_path, queue.url, generator):
        connection = await queue.connection()
        await connection.greet()
        await connection.ask(1, QUESTION)
        await connection.expect(Result)
        await connection.expect(Credit)
        await connection.ask(2, QUESTION, max_completion_tokens=50)
        await connection.expect(Result)
        short, whole = (json.loads(connection.answers[job])["choices"][0] for job in (1, 2))
        assert short["finish_reason"] == "length"
        assert (whole["finish_reason"], whole["message"]["content"]) == ("stop", ANSWER)
