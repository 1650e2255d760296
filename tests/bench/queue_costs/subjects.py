"""What is measured: queue and worker with the fake engine behind them, and the peers in front of the same engine."""

import asyncio
import contextlib
import json
import os
import re
import shlex
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import aiohttp
import psutil

from headrace_worker.engine_process import free_port
from tests.bench.queue_costs import engine_type
from tests.bench.queue_costs.loads import KEY

FOLDER = Path(__file__).parent
_START_S = 120.0
_STREAMS = 8000
"""More than any load opens; the queue's bounds on what waits are widened likewise."""
_NEVER_REACHED = 10**12
CHAT = "/v1/chat/completions"


@dataclass(frozen=True)
class Subject:
    """A proxy that runs."""

    name: str
    url: str
    """Of its chat completions."""
    programs: dict[str, list[psutil.Process]]

    def cpu(self) -> dict[str, float]:
        """CPU-seconds so far."""
        return {name: sum(_cpu(one) for one in processes) for name, processes in self.programs.items()}

    def memory_mib(self) -> dict[str, float]:
        """Resident now."""
        return {name: sum(_memory(one) for one in processes) for name, processes in self.programs.items()}


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()  # without its children's: the worker's child is the engine
    return float(times.user + times.system)


def _memory(process: psutil.Process) -> float:
    return float(process.memory_info().rss) / 2**20


@contextlib.asynccontextmanager
async def program(folder: Path, name: str, *command: str, **environment: str) -> AsyncIterator[psutil.Process]:
    """A program whose output goes to a file; it and what it started end with the block."""
    with (folder / f"{name}.log").open("wb") as output:
        started = psutil.Popen(command, stdout=output, stderr=output, env={**os.environ, **environment})
        try:
            yield started
        finally:
            family = [*started.children(recursive=True), started]
            for one in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.terminate()
            _, alive = await asyncio.to_thread(psutil.wait_procs, family, 10)
            for one in alive:
                one.kill()


async def answers(url: str, log: Path, *, post: bool = False) -> None:
    """Wait until it answers 200 there."""
    body = {"model": "bench", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}
    deadline = time.monotonic() + _START_S
    said = "nothing"
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as http:
        while time.monotonic() < deadline:
            with contextlib.suppress(aiohttp.ClientError):
                async with http.request("POST" if post else "GET", url, json=body if post else None) as got:
                    if got.status == 200:
                        return
                    said = f"{got.status} {(await got.text())[:500]}"
            await asyncio.sleep(0.1)
    told = await asyncio.to_thread(log.read_text)
    raise RuntimeError(f"{url} answered {said}:\n{told[-3000:]}")


@contextlib.asynccontextmanager
async def headrace(folder: Path, queue_options: list[str]) -> AsyncIterator[tuple[Subject, int]]:
    """Queue and worker; with the port of the engine that the worker started."""
    port, admin, metrics = free_port(), free_port(), free_port()
    bounds = ("--max-waiting", str(_STREAMS), "--max-waiting-per-key", str(_STREAMS))
    keys = folder / "keys.json"
    keys.write_text(json.dumps(_keys()))
    listening = ("--host", "127.0.0.1", "--port", str(port), "--admin-port", str(admin), "--data-folder", str(folder))
    options = (*listening, "--keys-file", str(keys), *bounds, *queue_options)
    config = folder / "worker_config.toml"
    queue_toml = f'url = "http://127.0.0.1:{port}"\ncheckpoint_name = "bench"\nmax_concurrent_queries = {_STREAMS}\n'
    generator = f'type = "{engine_type.TYPE}"\nmodel_id = "bench/bench"\nweight_set_directories = ["{folder}"]\n'
    monitoring = f"[monitoring]\nmetrics_port = {metrics}\n"
    config.write_text(f"edition = 1\n[generator]\n{generator}[queue]\n{queue_toml}{monitoring}")
    site = folder / "site"
    engine_type.install(site)
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    python = sys.executable
    async with contextlib.AsyncExitStack() as stack:
        queue = await stack.enter_async_context(program(folder, "queue", python, "-m", "headrace_queue", *options))
        await answers(f"http://127.0.0.1:{admin}/readyz", folder / "queue.log")
        command = (python, "-m", "headrace_worker", "--config", str(config))
        worker = await stack.enter_async_context(
            program(folder, "worker", *command, PYTHONPATH=path, HEADRACE_TERMINATION_LOG=str(folder / "end"))
        )
        await answers(f"http://127.0.0.1:{metrics}/readyz", folder / "worker.log")
        programs = {"queue": [queue], "worker": [worker]}
        yield Subject("headrace", f"http://127.0.0.1:{port}{CHAT}", programs), _engine_port(folder / "worker.log")


def _keys() -> dict[str, Any]:
    """The keys file: every request is held against limits, and none is refused."""
    kinds = ("requestsPerMinute", "tokensPerMinute", "requestsPerDay", "tokensPerDay", "concurrentRequests")
    return {"keys": [{"id": "bench", "key": KEY, "weight": 2, "limits": dict.fromkeys(kinds, _NEVER_REACHED)}]}


def _engine_port(log: Path) -> int:
    """As the worker's log has it: the word before the model's name, which is the last."""
    for line in log.read_text().splitlines():
        with contextlib.suppress(ValueError):
            said = json.loads(line)
            if said.get("event") == "starting the engine":
                return int(said["argv"][-2])
    raise RuntimeError(f"the worker started no engine:\n{log.read_text()[-3000:]}")


@contextlib.asynccontextmanager
async def peer(folder: Path, name: str, command: str, engine_port: int) -> AsyncIterator[Subject]:
    """A peer by its command line, in which {port}, {engine} (a URL), {engine_port} and {folder} are replaced.

    A path or URL at its end, after a space and `->`, is where its chat completions are, if not on that port at
    `/v1/chat/completions`.
    What is counted is the process that listens, with its children, whatever started it.
    """
    command, _, path = command.partition(" ->")
    port = free_port()
    names = {"port": port, "engine": f"http://127.0.0.1:{engine_port}", "engine_port": engine_port, "folder": folder}
    filled = re.sub(r"\{(port|engine|engine_port|folder)\}", lambda found: str(names[found[1]]), command)
    async with program(folder, name, *shlex.split(filled)) as started:
        url = urljoin(f"http://127.0.0.1:{port}", path.strip() or CHAT)
        await answers(url, folder / f"{name}.log", post=True)
        listening = _listener(started, urlsplit(url).port)
        yield Subject(name, url, {"proxy": [listening, *listening.children(recursive=True)]})


def _listener(started: psutil.Process, port: int | None) -> psutil.Process:
    for one in (started, *started.children(recursive=True)):
        if any(each.status == psutil.CONN_LISTEN and each.laddr.port == port for each in one.net_connections("tcp")):
            return one
    raise RuntimeError(f"nothing of {started.name()} listens on {port}")
