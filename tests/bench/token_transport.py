"""What it costs to bring tokens from vLLM's server to the worker, by HTTP and over one WebSocket; without a model.

    python tests/bench/token_transport.py PYTHON [--repeat 5]

PYTHON is an interpreter that has vLLM, of which FastAPI and uvicorn are used: an application that writes a token of all
streams every 5 ms, as vLLM does after each step. The CPU time of both ends is measured, so that programs which run
besides disturb little. "bare" is worker_overhead's client, which only reads; the others are the worker's own.
"""

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import psutil

from headrace_worker.engine_process import environment_of, free_port
from headrace_worker.engines.protocol import EngineCommand
from headrace_worker.engines.vllm import FOLDER
from headrace_worker.transports.http import Http
from headrace_worker.transports.multiplexed import Multiplexed
from headrace_worker.transports.protocol import Transport

sys.path.insert(0, str(Path(__file__).parent))
import worker_overhead as bench

SERVER = """
import asyncio, json, sys
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from headrace_multiplexer import Multiplexer

choice = {"index": 0, "delta": {"content": " word"}, "logprobs": None, "finish_reason": None, "token_ids": None}
chunk = {"id": "chatcmpl-0", "object": "chat.completion.chunk", "created": 1, "model": "bench", "choices": [choice]}
EVENT = "data: " + json.dumps(chunk) + "\\n\\n"
app, steps = FastAPI(), [asyncio.Event()]

async def engine():
    while True:
        await asyncio.sleep(0.005)
        step, steps[0] = steps[0], asyncio.Event()
        step.set()

@app.get("/health")
async def health():
    return {}

@app.post("/v1/chat/completions")
async def chat(request: Request):
    if len(steps) == 1:
        steps.append(asyncio.create_task(engine()))
    tokens = (await request.json())["max_tokens"]
    async def events():
        for _ in range(tokens):
            await steps[0].wait()
            yield EVENT
        yield "data: [DONE]\\n\\n"
    return StreamingResponse(events(), media_type="text/event-stream")

app.add_middleware(Multiplexer)
uvicorn.run(app, port=int(sys.argv[1]), access_log=False, log_level="warning")
"""
THOUSANDS = bench.STREAMS * bench.TOKENS / 1000


@contextmanager
def server(python: str, port: int) -> Iterator[psutil.Popen]:
    """The application."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "server.py"
        script.write_text(SERVER)
        command = EngineCommand([python, str(script), str(port)], python_path=FOLDER)
        process = psutil.Popen(command.argv, env=environment_of(command, os.environ), stdout=subprocess.DEVNULL)
        try:
            until_open(port)
            yield process
        finally:
            process.terminate()
            process.wait(30)


def until_open(port: int) -> None:
    """Wait until something listens there."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError(f"nothing listens on port {port}")


async def asked(transport: Transport | None, url: str, body: bytes) -> None:
    """One stream."""
    if transport is None:
        last = (await bench.stream(url, body))[1]
    else:
        async with transport.ask(bench.CHAT, body) as answer:
            last = b"".join([data async for data in answer.received()])[-100:]
    if b"[DONE]" not in last:
        raise RuntimeError(f"a broken answer, ending {last!r}")


async def compare(python: str, repeat: int) -> None:
    """All rounds, the ways in turn; then the medians of CPU seconds per 1000 tokens."""
    port = free_port()
    url, body = f"http://127.0.0.1:{port}", json.dumps(bench.request("bench")).encode()
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    with server(python, port) as process:
        async with aiohttp.ClientSession(connector=connector) as http:
            multiplexed = Multiplexed(http, url)
            ways = {"bare, by HTTP": None, "worker, by HTTP": Http(url), "worker, one WebSocket": multiplexed}
            rows: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
            for _ in range(repeat + 1):
                for name, way in ways.items():
                    before, own = process.cpu_times(), time.process_time()
                    await asyncio.gather(*(asked(way, url, body) for _ in range(bench.STREAMS)))
                    after, used = process.cpu_times(), time.process_time() - own
                    there = after.user + after.system - before.user - before.system
                    rows[name].append((there / THOUSANDS, used / THOUSANDS))
            await multiplexed.close()
    sys.stdout.write(f"{'CPU s per 1000 tokens':30}{'server':>12}{'client':>12}{'together':>12}\n")
    for name, rounds in rows.items():
        there, here = (statistics.median(column) for column in zip(*rounds[1:], strict=True))  # the first warms up
        sys.stdout.write(f"{name:30}{there:12.4f}{here:12.4f}{there + here:12.4f}\n")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python")
    parser.add_argument("--repeat", type=int, default=5)
    given = parser.parse_args()
    asyncio.run(compare(given.python, given.repeat))


if __name__ == "__main__":
    main()
