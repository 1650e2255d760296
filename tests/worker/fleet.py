"""A real queue and several real workers, each with a real llama.cpp engine on the sample model."""

import asyncio
import contextlib
import itertools
import json
import os
import shutil
import signal
import sys
import tempfile
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

import psutil

from tests.worker.worker_process import GGUF, WorkerProcess, all_gone, worker

START_S = 180.0
MODEL = "public-name"


@contextlib.asynccontextmanager
async def queue_process() -> AsyncIterator[str]:
    """A queue that knows the model from the beginning; yields its URL."""
    command = ["-m", "headrace_queue", "--host", "127.0.0.1", "--port", "0", "--model", MODEL, "--log-level", "INFO"]
    data = tempfile.mkdtemp()
    environment = os.environ | {"HEADRACE_QUEUE_ADMIN_PORT": "0", "HEADRACE_QUEUE_DATA_FOLDER": data}
    process = await asyncio.create_subprocess_exec(sys.executable, *command, env=environment, stdout=PIPE)
    assert process.stdout
    started = json.loads(await asyncio.wait_for(process.stdout.readline(), START_S))
    reading = asyncio.create_task(process.stdout.read())
    try:
        yield f"http://127.0.0.1:{started['port']}"
    finally:
        process.kill()
        await process.wait()
        await reading
        shutil.rmtree(data)


class Fleet:
    """Workers by their place; a place gets a new worker when its last one has ended."""

    def __init__(self, folder: Path, url: str) -> None:
        self.url = url
        self.model = folder / f"fleet-{os.getpid()}.gguf"
        """Its name occurs in the command lines of these engines only."""
        shutil.copyfile(GGUF, self.model)
        self._folder = folder
        self._numbers = itertools.count(1)
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def start(self, name: str, **more: Any) -> WorkerProcess:
        """Start a worker; upper-case keywords are environment variables, the others keys of its generator section."""
        folder = self._folder / f"{name}-{next(self._numbers)}"
        folder.mkdir()
        kwargs = {"n_threads": 1, "n_threads_batch": 1, "n_threads_http": 8}
        variables = {key: value for key, value in more.items() if key.isupper()}
        generator = {
            "type": "LlamaCppEngine",
            "model_id": str(self.model),
            "max_total_tokens": 256,
            "engine_kwargs": kwargs,
            **{key: value for key, value in more.items() if not key.isupper()},
        }
        return await self._stack.enter_async_context(
            worker(folder, self.url, generator, HEADRACE_WORKER_NAME=name, **variables)
        )

    async def started(self, count: int) -> list[WorkerProcess]:
        """Start workers together and wait until they are ready."""
        workers = [await self.start(f"w{number}") for number in range(count)]
        await asyncio.gather(*(one.until_ready(START_S) for one in workers))
        return workers

    def engines(self) -> list[psutil.Process]:
        """All processes of this fleet's engines, also those that nobody looks after any more."""
        return [process for process in psutil.process_iter() if self.model.name in _command(process)]


def _command(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def engine_of(one: WorkerProcess) -> psutil.Process | None:
    """The engine itself, not its guard; None before it is started."""
    with contextlib.suppress(psutil.Error):
        for child in one.children():
            if "headrace_worker.engines.llamacpp_server" in (command := _command(child)) and "guard.py" not in command:
                return child
    return None


async def replaced(fleet: Fleet, name: str, old: WorkerProcess) -> WorkerProcess:
    """Stop a worker as a rolling restart does, and start the next one in its place."""
    children = old.children()
    old.process.send_signal(signal.SIGTERM)
    assert await old.exit_status(40) == 0, old.log.read_text()[-3000:]
    assert await all_gone(children)
    new = await fleet.start(name)
    await new.until_ready(START_S)
    return new
