"""A whole worker in this process, with an engine program that a test chooses and parts that it replaces."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from headrace_api.wire import Register, Registered
from headrace_api.worker_config import Adapter, Generator, Monitoring, Queue, WorkerConfig
from headrace_worker import app, settings
from headrace_worker.decision import Decision
from headrace_worker.engine_process import free_port
from headrace_worker.engines import Chosen
from headrace_worker.engines.protocol import EngineCommand, EngineFacts
from headrace_worker.parts import OnProgress, Parts
from headrace_worker.status import Progress
from tests.worker import troubled_engine
from tests.worker.scripted_queue import Connection, ScriptedQueue


class Fetching:
    """A fetch that goes as far as it is let; what it leaves half-done it cleans up."""

    def __init__(self, *progress: Progress) -> None:
        self.progress = progress
        self.go_on = asyncio.Event()
        self.cleaned_up = False

    async def __call__(self, generator: Generator, progress: OnProgress, /) -> Generator:
        try:
            for one in self.progress:
                progress(one)
                await asyncio.sleep(0.02)
            await self.go_on.wait()
        finally:
            self.cleaned_up = True
        return generator


@dataclass
class Living:
    task: asyncio.Task[int]
    termination_log: Path
    metrics_port: int

    async def status(self, seconds: float = 15) -> int:
        """The exit status."""
        return await asyncio.wait_for(asyncio.shield(self.task), seconds)

    async def probe(self, path: str) -> tuple[int, Any]:
        status, text = await self.page(path)
        return status, json.loads(text)

    async def page(self, path: str) -> tuple[int, str]:
        url = f"http://127.0.0.1:{self.metrics_port}{path}"
        async with aiohttp.ClientSession() as http, http.get(url) as response:
            return response.status, await response.text()

    async def until_in(self, state: str) -> None:
        async with asyncio.timeout(15):
            while (await self.probe("/healthz"))[1]["state"] != state:
                await asyncio.sleep(0.02)

    def engine_processes(self) -> list[psutil.Process]:
        """The guard and its engine, told by their command lines: other tests' fixtures have processes here, too."""
        children = psutil.Process().children(recursive=True)
        return [child for child in children if troubled_engine.__file__ in _command_line(child)]

    def sigterm(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:  # it has ended in the meantime
        return []


@contextlib.asynccontextmanager
async def living(
    folder: Path,
    url: str,
    trouble: str = "sound",
    queue: dict[str, Any] | None = None,
    wanted: Sequence[Adapter] = (),
    **more: Any,
) -> AsyncIterator[Living]:
    """Run a worker; upper-case keywords are environment variables, the others are its parts."""
    config = WorkerConfig(
        edition=1,
        generator=Generator(type="VLLMEngine", model_id="m", adapters=list(wanted)),
        queue=Queue(url=url, **(queue or {})),
        monitoring=Monitoring(metrics_port=free_port()),
    )

    def decide(chosen: Chosen, facts: EngineFacts) -> Decision:
        argv = [sys.executable, troubled_engine.__file__, str(facts.port), trouble]
        return Decision(chosen.engine, chosen.generator, EngineCommand(argv), facts.port, slots=4)

    termination_log = folder / "termination-log"
    variables = {name: value for name, value in more.items() if name.isupper()}
    parts = {name: value for name, value in more.items() if not name.isupper()}
    environment = settings.read({**os.environ, "HEADRACE_TERMINATION_LOG": str(termination_log), **variables})
    task = asyncio.create_task(app.run(config, environment, None, Parts(**{"decide": decide, **parts})))
    try:
        yield Living(task, termination_log, config.monitoring.metrics_port)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def registered(queue: ScriptedQueue) -> tuple[Connection, Register]:
    connection = await queue.connection()
    register = await connection.expect(Register)
    await connection.send(Registered())
    return connection, register


def states(connection: Connection) -> list[str]:
    return [report.state for report in connection.reports]
