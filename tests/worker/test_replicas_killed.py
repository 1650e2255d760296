"""Two queues and a real worker: one queue is killed under load, and comes back."""

import asyncio
import contextlib
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from headrace_worker.engine_process import free_port
from tests.waiting import until
from tests.worker.fleet import MODEL, START_S, Fleet

pytestmark = pytest.mark.engine

RESOLVER = """
import socket

_real = socket.getaddrinfo

def getaddrinfo(host, port, family=0, type=0, proto=0, flags=0):
    hosts = ["127.0.0.1", "127.0.0.2"] if host == "queue.test" else [host]
    return [one for each in hosts for one in _real(each, port, family, type, proto, flags)]

socket.getaddrinfo = getaddrinfo
"""
"""A name with two addresses, as a headless Service has it, without a DNS server."""


@contextlib.asynccontextmanager
async def queue(number: int, port: int, folder: Path) -> AsyncIterator[Process]:
    options = ("--host", f"127.0.0.{number}", "--port", str(port), "--admin-port", "0", "--model", MODEL)
    options += ("--data-folder", str(folder / str(number)))
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "headrace_queue", *options, stdout=PIPE)
    assert process.stdout
    assert json.loads(await asyncio.wait_for(process.stdout.readline(), START_S))["port"] == port
    reading = asyncio.create_task(process.stdout.read())
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        await reading


class Client:
    """Asks one queue again and again, some requests at a time."""

    def __init__(self, number: int, port: int) -> None:
        self.url = f"http://127.0.0.{number}:{port}/v1/chat/completions"
        self.answers: list[int] = []
        """Statuses; 0 for a broken connection."""

    @contextlib.asynccontextmanager
    async def asking(self, at_a_time: int = 4) -> AsyncIterator["Client"]:
        async with aiohttp.ClientSession() as http:
            tasks = [asyncio.create_task(self._ask(http)) for _ in range(at_a_time)]
            try:
                yield self
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, http: aiohttp.ClientSession) -> None:
        messages = [{"role": "user", "content": "hello"}]
        while True:
            try:
                async with http.post(self.url, json={"model": MODEL, "messages": messages, "max_tokens": 8}) as answer:
                    await answer.read()
                    self.answers.append(answer.status)
            except aiohttp.ClientError:
                self.answers.append(0)
                await asyncio.sleep(0.1)

    async def more(self, count: int) -> set[int]:
        """The statuses of as many further answers."""
        before = len(self.answers)
        await until(lambda: len(self.answers) >= before + count, 60)
        return set(self.answers[before:])


async def test_the_worker_goes_on_with_the_other_queue_and_returns_to_one_that_comes_back(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "sitecustomize.py").write_text(RESOLVER)
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    async with contextlib.AsyncExitStack() as stack:
        first = await stack.enter_async_context(queue(1, port, tmp_path))
        await stack.enter_async_context(queue(2, port, tmp_path))
        fleet = await stack.enter_async_context(Fleet(tmp_path, f"http://queue.test:{port}"))
        worker = await fleet.start("w0", PYTHONPATH=path)
        await worker.until_ready(START_S)
        clients = [await stack.enter_async_context(Client(number, port).asking()) for number in (1, 2)]
        assert [await client.more(10) for client in clients] == [{200}, {200}]
        first.kill()
        assert await clients[1].more(15) == {200}
        assert (await worker.probe("/readyz"))[0] == 200
        await until(lambda: clients[0].answers[-1] == 0)
        await stack.enter_async_context(queue(1, port, tmp_path))
        await until(lambda: clients[0].answers[-1] == 200, 60)
        assert await clients[0].more(10) == {200}
        assert set(clients[1].answers) == {200}
