"""A real queue and two workers: the engine of the one that is asked dies, and the other one answers."""

import asyncio
import contextlib
import io
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from headrace_queue.app import QueueServer
from headrace_queue.logs import make_logger
from headrace_queue.settings import Settings
from headrace_worker.engine_client import Dialect, EngineClient
from headrace_worker.engines.protocol import text_api
from headrace_worker.life import State
from headrace_worker.metrics import Metrics
from headrace_worker.puller import PullPlan, worker_url
from headrace_worker.replicas import Replicas
from headrace_worker.status import Offer, Status
from tests.waiting import until
from tests.worker.conftest import REGISTER
from tests.worker.scripted_engine import CHUNKS, DONE, ScriptedEngine

TEXT = ['one "usage":{ ', "two"]


class Mortal(ScriptedEngine):
    """The first of all engines that is asked dies of it as vLLM does, whose server lives on and tells of an error."""

    def __init__(self, asked: list["Mortal"]) -> None:
        super().__init__()
        self.asked = asked

    def told(self, content: str) -> str:
        self.asked.append(self)
        self.healthy = self.asked[0] is not self
        return "quick" if self.healthy else content


@contextlib.asynccontextmanager
async def a_queue(folder: Path, log: io.StringIO) -> AsyncIterator[str]:
    settings = Settings(host="127.0.0.1", port=0, admin_port=0, data_folder=folder)
    async with QueueServer(settings, CollectorRegistry(), make_logger(stream=log)) as server:
        yield f"http://127.0.0.1:{server.port}"


@contextlib.asynccontextmanager
async def a_worker(name: str, url: str, engine: ScriptedEngine) -> AsyncIterator[Status]:
    plan = PullPlan(worker_url(url), None, REGISTER.model_copy(update={"worker": name, "continues": True}), 7)
    status = Status(Metrics())
    async with aiohttp.ClientSession() as session:
        client = EngineClient(session, engine.url, Dialect("public-name", api=replace(text_api(), continues=True)))
        status.set_offer(Offer(client, 4))
        status.set_state(State.READY)
        pulling = asyncio.create_task(Replicas(plan, status).run())
        try:
            yield status
        finally:
            pulling.cancel()
            await asyncio.gather(pulling, return_exceptions=True)


async def answered(
    folder: Path, content: str, *, stream: bool
) -> tuple[int, bytes, list[dict[str, Any]], list[Mortal]]:
    """Status, body, what the queue logged, and the engines that were asked."""
    log, asked = io.StringIO(), list[Mortal]()
    async with contextlib.AsyncExitStack() as stack:
        url = await stack.enter_async_context(a_queue(folder, log))
        for name in ("one", "two"):
            engine = await stack.enter_async_context(Mortal(asked).serving())
            status = await stack.enter_async_context(a_worker(name, url, engine))
            await until(lambda status=status: status.registered)  # type: ignore[misc]
        http = await stack.enter_async_context(aiohttp.ClientSession())
        body = {"model": "public-name", "messages": [{"role": "user", "content": content}], "stream": stream}
        async with http.post(url + "/v1/chat/completions", json=body) as response:
            whole = response.status, await response.read()
    return *whole, [json.loads(line) for line in log.getvalue().splitlines()], asked


def texts(stream: bytes) -> list[str]:
    events = [json.loads(event.removeprefix(b"data: ")) for event in stream.split(b"\n\n")[:-2]]
    return [choice["delta"]["content"] for event in events for choice in event["choices"]]


@pytest.mark.parametrize(("content", "given"), [("broken at once", []), ("broken", TEXT[:1])])
async def test_a_stream_goes_on_with_the_other_worker(tmp_path: Path, content: str, given: list[str]) -> None:
    status, stream, logged, asked = await answered(tmp_path, content, stream=True)
    assert status == 200
    assert texts(stream) == [*given, *TEXT]
    assert stream.count(DONE) == 1
    assert b'"error":' not in stream
    assert len(asked) == len(set(map(id, asked))) == 2
    assert [message["role"] for message in asked[1].requests[0]["messages"]] == ["user", "assistant"][: len(given) + 1]
    (line,) = [line for line in logged if line["event"] == "request"]
    assert (line["status"], line["attempts"]) == (200, 2)


async def test_a_whole_answer_comes_from_the_other_worker(tmp_path: Path) -> None:
    status, body, logged, asked = await answered(tmp_path, "failing", stream=False)
    assert (status, json.loads(body)["choices"][0]["message"]["content"]) == (200, "quick")
    assert len(asked) == len(set(map(id, asked))) == 2
    (line,) = [line for line in logged if line["event"] == "handed back"]
    assert line["failed"] is True


async def test_an_error_of_the_request_moves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Mortal, "told", lambda self, content: self.asked.append(self) or content)
    status, stream, logged, asked = await answered(tmp_path, "refused", stream=True)
    assert (status, len(asked)) == (200, 1)
    assert stream.startswith(CHUNKS[0])
    assert b"no such thing" in stream
    assert DONE not in stream
    (line,) = [line for line in logged if line["event"] == "request"]
    assert line["status"] == 400
