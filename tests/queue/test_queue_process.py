"""The real program: options, variables, and SIGTERM."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
from queue_setup import DONE, PLAIN, chunk
from typer.testing import CliRunner
from v1_worker import V1Worker

from headrace_api import wire
from headrace_queue.__main__ import app

pytestmark = pytest.mark.slow

MESSAGES: Any = [{"role": "user", "content": "x"}]
Launch = Callable[..., Awaitable[tuple[Process, dict[str, Any]]]]


@pytest.fixture
async def launch(tmp_path: Path) -> AsyncIterator[Launch]:
    started: list[Process] = []

    async def launch_one(*options: str, **variables: str) -> tuple[Process, dict[str, Any]]:
        command = ["-m", "headrace_queue", "--host", "127.0.0.1", "--port", "0", *options]
        environment = (
            os.environ | {"HEADRACE_QUEUE_ADMIN_PORT": "0", "HEADRACE_QUEUE_DATA_FOLDER": str(tmp_path)} | variables
        )
        process = await asyncio.create_subprocess_exec(sys.executable, *command, env=environment, stdout=PIPE)
        started.append(process)
        assert process.stdout
        async with asyncio.timeout(15):
            return process, json.loads(await process.stdout.readline())

    yield launch_one
    for process in started:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_sigterm_lets_what_is_under_way_finish(launch: Launch) -> None:
    process, started = await launch("--drain-seconds", "10", HEADRACE_QUEUE_MODEL="m n")
    base = f"http://127.0.0.1:{started['port']}"
    url = f"ws://127.0.0.1:{started['port']}/worker"
    client = openai.AsyncOpenAI(base_url=f"{base}/v1", api_key="none", max_retries=0)
    async with client, aiohttp.ClientSession() as http, V1Worker(url, "m", credit=1) as worker:
        assert [model.id async for model in await client.models.list()] == ["m", "n"]
        create: Any = client.chat.completions.create
        task = asyncio.create_task(create(model="m", messages=MESSAGES, stream=True))
        job = await worker.expect(wire.Job)
        await worker.pieces((job.job, chunk("before ")))
        stream = await task
        waits = asyncio.create_task(create(model="m", messages=MESSAGES))
        await asyncio.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.1)
        async with http.get(f"{base}/readyz") as response:
            assert response.status == 503
        with pytest.raises(openai.InternalServerError, match="stopping") as caught:
            await create(model="m", messages=MESSAGES)
        assert caught.value.response.headers["retry-after"]
        await worker.send(wire.Credit(n=1))
        held = await worker.expect(wire.Job)
        await worker.expect(wire.Drain)
        await worker.result(held, body=PLAIN)
        await waits
        await worker.pieces((job.job, chunk("and after")), (job.job, DONE))
        await worker.result(job)
        assert "".join([c.choices[0].delta.content async for c in stream]) == "before and after"
        async with asyncio.timeout(5):
            assert await process.wait() == 0


async def test_sigterm_does_not_wait_for_ever(launch: Launch) -> None:
    process, started = await launch("--drain-seconds", "0.4")
    base, url = f"http://127.0.0.1:{started['port']}/v1", f"ws://127.0.0.1:{started['port']}/worker"
    client = openai.AsyncOpenAI(base_url=base, api_key="none", max_retries=0)
    async with client, V1Worker(url, "m", credit=1) as worker:
        create: Any = client.chat.completions.create
        runs = asyncio.create_task(create(model="m", messages=MESSAGES))
        await worker.expect(wire.Job)
        waits = asyncio.create_task(create(model="m", messages=MESSAGES))
        await asyncio.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        for task, words in ((waits, "stopping"), (runs, "stopped before")):
            with pytest.raises(openai.InternalServerError, match=words):
                await task
        async with asyncio.timeout(5):
            assert await process.wait() == 0


async def test_an_operator_can_be_expected_by_variables(launch: Launch) -> None:
    variables = {"HEADRACE_QUEUE_EXPECT_OPERATOR": "true", "HEADRACE_QUEUE_CATALOGUE_SECONDS": "600"}
    _, started = await launch(**variables)
    async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{started['port']}/readyz") as response:
        assert response.status == 503


async def test_a_port_that_is_taken_is_an_error_in_words(launch: Launch) -> None:
    _, started = await launch()
    process, line = await launch("--port", str(started["port"]))
    assert (line["event"], line["port"]) == ("cannot listen", started["port"])
    assert await process.wait() == 1


async def test_the_token_can_come_from_a_file(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from a file\n")
    _, started = await launch("--worker-token-file", str(tmp_path / "token"))
    url = f"ws://127.0.0.1:{started['port']}/worker"
    with pytest.raises(Exception, match="401"):
        await V1Worker(url, "m").__aenter__()
    async with V1Worker(url, "m", token="from a file"):
        pass


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--port", "70000"), "65535"),
        (("--worker-token-file", "/nowhere"), "/nowhere"),
        (("--worker-token", " "), "at least 1 character"),
        (("--worker-token", "a", "--worker-token-file", "b"), "not both"),
    ],
)
def test_bad_options_are_refused_in_words(options: tuple[str, ...], words: str) -> None:
    result = CliRunner().invoke(app, options, env={"TERM": "dumb", "COLUMNS": "200"})
    assert result.exit_code == 2
    assert words in result.output
