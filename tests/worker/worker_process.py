"""The real program, `headrace-worker`, as a process."""

import asyncio
import contextlib
import os
import re
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import tomli_w

from headrace_worker.engine_process import free_port

ROOT = Path(__file__).resolve().parents[2]
SAMPLE_MODEL = ROOT / "runtime" / "sample_model" / "sample-chat"
GGUF = SAMPLE_MODEL / "sample-chat-f16.gguf"


@dataclass
class WorkerProcess:
    process: asyncio.subprocess.Process
    metrics_port: int
    termination_log: Path
    log: Path

    async def probe(self, path: str) -> tuple[int, str]:
        async with aiohttp.ClientSession() as http:
            try:
                async with http.get(f"http://127.0.0.1:{self.metrics_port}{path}") as response:
                    return response.status, await response.text()
            except aiohttp.ClientConnectionError:
                return 0, ""

    async def until_ready(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (await self.probe("/readyz"))[0] != 200:
            assert self.process.returncode is None, self.log.read_text()
            assert time.monotonic() < end, f"not ready within {seconds:.0f} s: {self.log.read_text()[-5000:]}"
            await asyncio.sleep(0.05)

    def engine_url(self) -> str:
        """Where its engine listens, as its log has it."""
        for line in self.log.read_text().splitlines():
            if '"starting the engine"' in line and (found := re.search(r'port\\*":? ?"?,? ?"?(\d+)', line)):
                return f"http://127.0.0.1:{found[1]}"
        raise AssertionError(self.log.read_text())

    async def ask_engine(self, request: dict[str, Any], path: str = "/v1/chat/completions") -> bytes:
        """The engine's own answer, past worker and queue."""
        async with aiohttp.ClientSession() as http, http.post(self.engine_url() + path, json=request) as response:
            assert response.status == 200, await response.text()
            return await response.read()

    async def engine_metrics(self) -> str:
        async with aiohttp.ClientSession() as http, http.get(self.engine_url() + "/metrics") as response:
            return await response.text()

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    async def exit_status(self, seconds: float = 15) -> int:
        return await asyncio.wait_for(self.process.wait(), seconds)


async def all_gone(processes: list[psutil.Process], seconds: float = 5) -> bool:
    _, alive = await asyncio.to_thread(psutil.wait_procs, processes, seconds)
    return not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


@contextlib.asynccontextmanager
async def worker(
    folder: Path, queue_url: str, generator: dict[str, Any], **environment: str
) -> AsyncIterator[WorkerProcess]:
    port = free_port()
    config = {
        "edition": 1,
        "generator": generator,
        "queue": {"url": queue_url, "checkpoint_name": "public-name"},
        "monitoring": {"metrics_port": port},
    }
    path = folder / "worker_config.toml"
    path.write_text(tomli_w.dumps(config))
    async with running(folder, ("--config", str(path)), port, **environment) as started:
        yield started


@contextlib.asynccontextmanager
async def running(
    folder: Path, arguments: tuple[str, ...], port: int, **environment: str
) -> AsyncIterator[WorkerProcess]:
    """The program with these arguments, whose configuration has `port` as its `metrics_port`."""
    termination_log, log = folder / "termination-log", folder / "worker.log"
    with log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "headrace_worker", *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            env={**os.environ, "HEADRACE_TERMINATION_LOG": str(termination_log), **environment},
        )
    started = WorkerProcess(process, port, termination_log, log)
    try:
        yield started
    finally:
        if process.returncode is None:
            process.kill()  # its engine goes with it, as a test makes sure
            await process.wait()
