"""What the queue costs: requests and tokens per second of its CPU, and the latency that it adds.

    python tests/bench/queue_overhead.py [--requests 4000] [--repeat 3]

The worker answers at once, so that all that is measured is the queue. The peer, measured in the same run and in turn,
is a bare aiohttp server that gives the same answer itself: the least that an aiohttp program can cost. A token here is
one piece of a stream, several of them in one frame, as from a busy engine.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from aiohttp import web

from headrace_api import wire

CONNECTIONS = 64
TOKENS = 100
CLUMP = 5
BODY = {"model": "m", "messages": [{"role": "user", "content": "x" * 400}]}
ANSWER = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [{"index": 0, "message": {}}]}
TOKEN = b'data: {"id":"1","choices":[{"index":0,"delta":{"content":"word "},"finish_reason":null}]}\n\n'


@dataclass(frozen=True)
class Figures:
    """One measurement of one server."""

    requests_per_cpu_second: float
    tokens_per_cpu_second: float
    p50_ms: float


async def bare() -> None:
    """The peer: prints its port as the queue does."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if not (await request.json()).get("stream"):
            return web.json_response(ANSWER)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for _ in range(TOKENS // CLUMP):
            await response.write(TOKEN * CLUMP)
            await asyncio.sleep(0)
        return response

    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(json.dumps({"port": runner.addresses[0][1]}), flush=True)  # noqa: T201 - the parent reads it
    await asyncio.Event().wait()


async def serve_jobs(socket: aiohttp.ClientWebSocketResponse) -> None:
    """A worker that has every answer ready."""
    register = wire.Register(worker="bench", models=["m"], fingerprint="", cpu_count=1, disk_space=1, vram=0)
    await socket.send_str(register.model_dump_json())
    await socket.send_str(wire.Credit(n=10**6).model_dump_json())
    async for frame in socket:
        message = json.loads(frame.data)
        if message["type"] != "job":
            continue
        job, stream = message["job"], message["openai_req"].get("stream")
        if stream:
            for _ in range(TOKENS // CLUMP):
                await socket.send_bytes(wire.encode_pieces([(job, TOKEN * CLUMP)]))
        result = wire.Result(job=job, request_id=message["request_id"], body=None if stream else ANSWER)
        await socket.send_str(result.model_dump_json())


async def start(*command: str) -> tuple[Process, int]:
    """A server of this benchmark, and its port."""
    process = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=PIPE)
    if process.stdout is None:
        raise RuntimeError("the server has no output")
    port = int(json.loads(await process.stdout.readline())["port"])
    if "headrace_queue" in command:
        await process.stdout.readline()  # the warning that any worker may join
    return process, port


def cpu_seconds(pid: int) -> float:
    """What a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def load(http: aiohttp.ClientSession, port: int, requests: int, *, stream: bool) -> None:
    """So many requests over all connections; every answer must be whole."""
    remaining = iter(range(requests))

    async def client() -> None:
        for _ in remaining:
            async with http.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=BODY | {"stream": stream}) as got:
                data = await got.read()
                if got.status != 200 or (stream and len(data) != len(TOKEN) * TOKENS):
                    raise RuntimeError(f"a wrong answer: {got.status}, {len(data)} bytes")

    await asyncio.gather(*(client() for _ in range(CONNECTIONS)))


async def measure(http: aiohttp.ClientSession, pid: int, port: int, requests: int) -> Figures:
    """One round with one server."""
    streams = max(requests // 2, CONNECTIONS)
    before = cpu_seconds(pid)
    await load(http, port, requests, stream=False)
    between = cpu_seconds(pid)
    await load(http, port, streams, stream=True)
    after = cpu_seconds(pid)
    times = []
    for _ in range(200):
        began = time.perf_counter()
        async with http.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=BODY) as got:
            await got.read()
        times.append((time.perf_counter() - began) * 1000)
    return Figures(requests / (between - before), streams * TOKENS / (after - between), statistics.median(times))


async def compare(requests: int, repeat: int) -> None:
    """Both servers in turn, so that a slow moment of the machine meets both."""
    with tempfile.TemporaryDirectory() as data:
        await _compare(requests, repeat, data)


async def _compare(requests: int, repeat: int, data: str) -> None:
    options = ("--host", "127.0.0.1", "--port", "0", "--admin-port", "0", "--log-level", "info", "--data-folder", data)
    queue, queue_port = await start("-m", "headrace_queue", *options)
    peer, peer_port = await start(__file__, "--bare")
    drains = asyncio.create_task(queue.stdout.read()) if queue.stdout else None
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    try:
        async with aiohttp.ClientSession(connector=connector) as http, aiohttp.ClientSession() as other:
            url = f"ws://127.0.0.1:{queue_port}/worker"
            async with other.ws_connect(url, protocols=(wire.SUBPROTOCOL,), max_msg_size=0) as socket:
                worker = asyncio.create_task(serve_jobs(socket))
                await asyncio.sleep(0.2)
                rows: dict[str, list[Figures]] = {"queue": [], "bare": []}
                for _ in range(repeat):
                    rows["queue"].append(await measure(http, queue.pid, queue_port, requests))
                    rows["bare"].append(await measure(http, peer.pid, peer_port, requests))
                worker.cancel()
                report(rows)
    finally:
        for process in (queue, peer):
            process.kill()
            await process.wait()
        if drains:
            await drains


def report(rows: dict[str, list[Figures]]) -> None:
    """Medians."""
    write = sys.stdout.write
    write(f"{'':8}{'requests/CPU-s':>16}{'tokens/CPU-s':>16}{'p50 ms':>10}\n")
    for name, figures in rows.items():
        requests = statistics.median(each.requests_per_cpu_second for each in figures)
        tokens = statistics.median(each.tokens_per_cpu_second for each in figures)
        p50 = statistics.median(each.p50_ms for each in figures)
        write(f"{name:8}{requests:16.0f}{tokens:16.0f}{p50:10.2f}\n")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=4000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--bare", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    asyncio.run(bare() if given.bare else compare(given.requests, given.repeat))


if __name__ == "__main__":
    main()
