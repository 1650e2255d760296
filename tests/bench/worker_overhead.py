"""What worker and queue cost: throughput, time to the first token and CPU, against the engine's own HTTP server.

    python tests/bench/worker_overhead.py [--repeat 5] [--vllm PYTHON] [--engine-cpus 0]

The peer is the same engine process, asked directly on its own port: nothing but the path of the tokens differs. Both
are measured in turn, so that a slow moment of the machine meets both. The engine has its own CPUs, as it has its own
GPU elsewhere; worker, queue and load generator share the others.
"""

import argparse
import asyncio
import contextlib
import json
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from headrace_worker.engine_process import environment_of
from headrace_worker.engines.protocol import EngineCommand
from headrace_worker.engines.vllm import FOLDER

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "runtime" / "sample_model" / "sample-chat"
STREAMS = 64
ROUNDS = 2
TOKENS = 128
CHAT = "/v1/chat/completions"
LOSS_PERCENT, FIRST_MS, START_S = 3.0, 2.0, 1.0
_START_LIMIT_S = 300
_END = b"\n\n"


@dataclass
class Load:
    """One round under load."""

    tokens_per_second: float
    worker_cpu: float
    """CPU seconds per 1000 tokens."""
    queue_cpu: float


@dataclass
class Rounds:
    """All of a path's."""

    loads: list[Load] = field(default_factory=list)
    first_ms: list[float] = field(default_factory=list)
    """Median times to the first token, with one stream at a time."""

    def median(self, name: str) -> float:
        """The median of a figure under load."""
        return statistics.median(getattr(one, name) for one in self.loads)


@dataclass
class Program:
    """A process of this benchmark."""

    process: psutil.Process
    log: Path

    def cpu(self) -> float:
        """CPU seconds so far."""
        times = self.process.cpu_times()
        return float(times.user + times.system)


def request(name: str, *, tokens: int = TOKENS) -> dict[str, Any]:
    """A request with an answer of that length."""
    messages = [{"role": "user", "content": "Who won the world series in 2020?"}]
    return {
        "model": name,
        "messages": messages,
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": tokens,
        "min_tokens": tokens,
        "ignore_eos": True,
        "temperature": 0,
    }


async def stream(url: str, body: bytes) -> tuple[float, bytes]:
    """One stream: seconds to its first content, and its end, which has the usage.

    Bare asyncio: a client library would cost more than what is measured.
    """
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    began = time.perf_counter()
    writer.write(head.encode() + b"Connection: close\r\n\r\n" + body)
    first, last = 0.0, b""
    while data := await reader.read(1 << 20):
        if not first and b'"content":"' in data.replace(b'"content": "', b'"content":"').replace(b'"content":""', b""):
            first = time.perf_counter() - began
        last = (last + data)[-2000:]
    writer.close()
    return first, last


async def load(url: str, name: str) -> float:
    """All streams at once, some times over; tokens per second."""
    body = json.dumps(request(name)).encode()
    began = time.perf_counter()
    for _ in range(ROUNDS):
        for _, last in await asyncio.gather(*(stream(url, body) for _ in range(STREAMS))):
            if re.search(rb'"completion_tokens": ?%d\b' % TOKENS, last) is None or b"[DONE]" not in last:
                raise RuntimeError(f"a broken answer from {url}, ending {last!r}")
    return ROUNDS * STREAMS * TOKENS / (time.perf_counter() - began)


async def first_tokens(url: str, name: str, count: int = 60) -> float:
    """The median time to a first token, in ms, one stream after another."""
    body = json.dumps(request(name, tokens=2)).encode()
    return 1000 * statistics.median([(await stream(url, body))[0] for _ in range(count)])


@contextlib.contextmanager
def program(folder: Path, name: str, *command: str, **environment: str) -> Iterator[Program]:
    """A program of Headrace's, killed at the end; its engine goes with it."""
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        process = psutil.Popen(
            [sys.executable, "-m", *command],
            stdout=output,
            stderr=output,
            env={**os.environ, "HEADRACE_TERMINATION_LOG": str(folder / "termination-log"), **environment},
        )
        try:
            yield Program(process, log)
        finally:
            process.terminate()
            process.wait(30)


async def answers(http: aiohttp.ClientSession, url: str, started: Program) -> float:
    """When it answered 200 there, on the monotonic clock."""
    deadline = time.monotonic() + _START_LIMIT_S
    while time.monotonic() < deadline:
        with contextlib.suppress(aiohttp.ClientError):
            async with http.get(url) as got:
                if got.status == 200:
                    return time.monotonic()
        if not started.process.is_running() or started.process.status() == psutil.STATUS_ZOMBIE:
            break
        await asyncio.sleep(0.01)
    raise RuntimeError(f"{url} never answered:\n{started.log.read_text()[-3000:]}")


def generator(vllm: str | None) -> str:
    """The worker's `[generator]`."""
    if vllm:
        environment = '{VLLM_CPU_KVCACHE_SPACE = "1", VLLM_NO_USAGE_STATS = "1", HF_HUB_OFFLINE = "1"}'
        return (
            f'type = "VLLMEngine"\nmodel_id = "{SAMPLE}"\nmax_total_tokens = 256\n'
            f'engine_kwargs = {{max_num_seqs = {STREAMS}, dtype = "float32", enforce_eager = true}}\n'
            f"runtime_env.env_vars = {environment}\n"
        )
    return (
        f'type = "LlamaCppEngine"\nmodel_id = "{SAMPLE}"\nmax_total_tokens = 256\n'
        f"engine_kwargs = {{n_parallel = {STREAMS}, n_threads = 1, n_threads_batch = 1}}\n"
    )


def pin(process: psutil.Process, cpus: set[int]) -> None:
    """A process with all its threads and children onto some CPUs."""
    for one in (process, *process.children(recursive=True)):
        for thread in one.threads():
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(thread.id, cpus)


def engine_argv(log: Path) -> list[str]:
    """The engine's command line, as the worker's log has it."""
    for line in log.read_text().splitlines():
        with contextlib.suppress(ValueError):
            said = json.loads(line)
            if said.get("event") == "starting the engine":
                return list(said["argv"])
    raise RuntimeError(f"the worker started no engine:\n{log.read_text()}")


def port_of(argv: list[str]) -> str:
    """The engine's port in its command line."""
    found = re.search(r"\"port\": (\d+)|--port (\d+)", " ".join(argv))
    if not found:
        raise RuntimeError(f"no port in {argv}")
    return found[1] or found[2]


@dataclass
class Setup:
    """Queue, worker and engine, running."""

    queue: Program
    worker: Program
    queue_url: str
    engine_url: str
    ready_s: float
    argv: list[str]


@contextlib.asynccontextmanager
async def running(folder: Path, http: aiohttp.ClientSession, vllm: str | None) -> AsyncIterator[Setup]:
    """All of them, on ports of their own."""
    port, admin, metrics = 18480, 18481, 18482
    options = ("--host", "127.0.0.1", "--port", str(port), "--admin-port", str(admin))
    config = folder / "worker_config.toml"
    # Given, not learned: both paths get as many streams at a time.
    queue_toml = f'[queue]\nurl = "http://127.0.0.1:{port}"\ncheckpoint_name = "bench"\n'
    queue_toml += f"max_concurrent_queries = {STREAMS}\n"
    config.write_text(
        f"edition = 1\n[generator]\n{generator(vllm)}{queue_toml}[monitoring]\nmetrics_port = {metrics}\n"
    )
    environment = {"HEADRACE_VLLM_PYTHON": vllm} if vllm else {}
    with program(folder, "queue", "headrace_queue", *options) as queue:
        await answers(http, f"http://127.0.0.1:{admin}/readyz", queue)
        began = time.monotonic()
        with program(folder, "worker", "headrace_worker", "--config", str(config), **environment) as worker:
            ready = await answers(http, f"http://127.0.0.1:{metrics}/readyz", worker) - began
            argv = engine_argv(worker.log)
            urls = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{port_of(argv)}"
            yield Setup(queue, worker, *urls, ready, argv)


async def bare_start(folder: Path, http: aiohttp.ClientSession, argv: list[str]) -> float:
    """Seconds from the start of the engine alone, by the same command line, to its first answer."""
    environment = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
    command = EngineCommand(argv, environment, python_path=FOLDER)
    log = folder / "engine.log"
    began = time.monotonic()
    with log.open("wb") as output:
        process = psutil.Popen(argv, stdout=output, stderr=output, env=environment_of(command, os.environ))
        try:
            return await answers(http, f"http://127.0.0.1:{port_of(argv)}/health", Program(process, log)) - began
        finally:
            for child in process.children(recursive=True):
                child.terminate()
            process.terminate()
            process.wait(30)


async def loaded(setup: Setup, url: str) -> Load:
    """One round under load on one path."""
    worker, queue = setup.worker.cpu(), setup.queue.cpu()
    rate = await load(url, "bench")
    thousands = ROUNDS * STREAMS * TOKENS / 1000
    return Load(rate, (setup.worker.cpu() - worker) / thousands, (setup.queue.cpu() - queue) / thousands)


@contextlib.contextmanager
def apart(setup: Setup, cpus: set[int]) -> Iterator[None]:
    """The engine on CPUs of its own, everything else on the others; where there are others."""
    everything = os.sched_getaffinity(0)
    (engine,) = (one for one in setup.worker.process.children() if "guard" in str(one.cmdline()))
    others = (psutil.Process(), setup.worker.process, setup.queue.process)
    try:
        for one in others:
            pin(one, everything - cpus or everything)
        pin(engine, cpus)
        yield
    finally:
        for one in others:
            pin(one, everything)


async def measure(setup: Setup, repeat: int, cpus: set[int], paths: dict[str, Rounds]) -> None:
    """All rounds, the paths in turn."""
    urls = {"engine": setup.engine_url, "queue": setup.queue_url}
    with apart(setup, cpus):
        for url in urls.values():
            await load(url, "bench")
        for _ in range(repeat):
            for name, url in urls.items():
                paths[name].loads.append(await loaded(setup, url))
    for _ in range(repeat):
        for name, url in urls.items():
            paths[name].first_ms.append(await first_tokens(url, "bench"))


async def compare(repeat: int, vllm: str | None, cpus: set[int]) -> bool:
    """The benchmark; whether its targets are reached."""
    paths = {"engine": Rounds(), "queue": Rounds()}
    starts, bare_starts = [], []
    with tempfile.TemporaryDirectory() as name:
        async with aiohttp.ClientSession() as http:
            for number in range(1 if vllm else repeat):
                async with running(Path(name), http, vllm) as setup:
                    starts.append(setup.ready_s)
                    if number == 0:
                        await measure(setup, repeat, cpus, paths)
                bare_starts.append(await bare_start(Path(name), http, setup.argv))
    return report(paths, statistics.median(starts), statistics.median(bare_starts))


def report(paths: dict[str, Rounds], start: float, bare: float) -> bool:
    """Medians, and whether they reach the targets."""
    write = sys.stdout.write
    engine, queue = paths["engine"], paths["queue"]
    losses = [
        100 * (1 - through.tokens_per_second / direct.tokens_per_second)
        for direct, through in zip(engine.loads, queue.loads, strict=True)
    ]
    rates = engine.median("tokens_per_second"), queue.median("tokens_per_second")
    firsts = statistics.median(engine.first_ms), statistics.median(queue.first_ms)
    write(f"{'':36}{'engine':>10}{'through':>10}\n")
    for text, one, other in (
        (f"tokens/s, {STREAMS} streams", *rates),
        ("first token, ms", *firsts),
        ("start to ready, s", bare, start),
    ):
        write(f"{text:36}{one:10.2f}{other:10.2f}\n")
    worker_cpu, queue_cpu = queue.median("worker_cpu"), queue.median("queue_cpu")
    write(f"{'CPU s per 1000 tokens: worker, queue':36}{worker_cpu:10.4f}{queue_cpu:10.4f}\n")
    loss = statistics.median(losses)
    targets = (
        ("throughput lost, %", loss, LOSS_PERCENT),
        ("first token later by, ms", firsts[1] - firsts[0], FIRST_MS),
        ("ready later by, s", start - bare, START_S),
    )
    for text, value, limit in targets:
        write(f"{text:36}{value:10.2f}  at most {limit:g}{'' if value <= limit else '  MISSED'}\n")
    return all(value <= limit for _, value, limit in targets)


def main() -> int:
    """The command line; 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--vllm", metavar="PYTHON", help="measure vLLM, in this interpreter, instead of llama.cpp")
    parser.add_argument("--engine-cpus", type=int, nargs="+", default=[0])
    given = parser.parse_args()
    # vLLM's processes wait for one another by spinning: on one CPU they would hold each other up
    cpus = os.sched_getaffinity(0) if given.vllm else set(given.engine_cpus)
    return 0 if asyncio.run(compare(given.repeat, given.vllm, cpus)) else 1


if __name__ == "__main__":
    sys.exit(main())
