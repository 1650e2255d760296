"""Where a worker that learns its limit ends, and what the same engine does at limits that are given.

    python -m tests.bench.capacity [--slots 128] [--limits 1 4 16 64 128] [--learn 120]

A real queue, a real worker and llama.cpp with the sample model, with twice as many clients as the engine has slots. The
exit status is 1 when the learned limit gives, in the second half, less than 90 % of the best throughput at a given one.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import re
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp

from tests.bench.worker_overhead import CHAT, SAMPLE, answers, program, request

MODEL = "bench"
ADMIN, PORT, METRICS = 18581, 18580, 18582
TOKENS = 64
WARM_S, MEASURED_S, LOOK_S = 4.0, 12.0, 3.0
ENOUGH = 0.9


class Clients:
    """Clients that ask again as soon as they have an answer."""

    def __init__(self) -> None:
        self.tokens = 0
        self._lengths = itertools.cycle(range(TOKENS // 2, TOKENS * 3 // 2))  # so that answers do not end in lumps

    @contextlib.asynccontextmanager
    async def asking(self, count: int) -> AsyncIterator[None]:
        """So many, while the block runs."""
        clients = [asyncio.create_task(self._ask_on()) for _ in range(count)]
        try:
            yield
            for one in clients:
                if one.done():
                    await one
        finally:
            for one in clients:
                one.cancel()
            await asyncio.gather(*clients, return_exceptions=True)

    async def rate(self, seconds: float) -> float:
        """Tokens per second, from now on for so long."""
        before, began = self.tokens, time.monotonic()
        await asyncio.sleep(seconds)
        return (self.tokens - before) / (time.monotonic() - began)

    async def _ask_on(self) -> None:
        while True:
            body = json.dumps(request(MODEL, tokens=next(self._lengths))).encode()
            head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
            reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
            last = b""
            try:
                writer.write(head.encode() + body)
                while data := await reader.read(1 << 20):
                    self.tokens += data.count(b'"content":')  # one event a token
                    last = (last + data)[-500:]
            finally:
                writer.close()
            if b"[DONE]" not in last:
                raise RuntimeError(f"a broken answer, ending {last!r}")


async def limit_now(http: aiohttp.ClientSession) -> int:
    """How many requests the worker takes at a time."""
    async with http.get(f"http://127.0.0.1:{METRICS}/metrics") as response:
        found = re.search(r"^headrace_worker_slots (\S+)$", await response.text(), re.MULTILINE)
    return int(float(found[1])) if found else 0


@contextlib.asynccontextmanager
async def worker(folder: Path, http: aiohttp.ClientSession, slots: int, limit: int | None) -> AsyncIterator[None]:
    """A ready worker, with a limit that is given or learned."""
    threads = "n_threads = 1, n_threads_batch = 1"
    given = f"max_concurrent_queries = {limit}\n" if limit else ""
    config = folder / "worker_config.toml"
    config.write_text(
        f'edition = 1\n[generator]\ntype = "LlamaCppEngine"\nmodel_id = "{SAMPLE}"\nmax_total_tokens = 256\n'
        f"engine_kwargs = {{n_parallel = {slots}, {threads}}}\n"
        f'[queue]\nurl = "http://127.0.0.1:{PORT}"\ncheckpoint_name = "{MODEL}"\n{given}'
        f"[monitoring]\nmetrics_port = {METRICS}\n"
    )
    arguments, cache = ("headrace_worker", "--config", str(config)), str(folder / "cache")
    with program(folder, "worker", *arguments, HEADRACE_CACHE=cache) as started:
        await answers(http, f"http://127.0.0.1:{METRICS}/readyz", started)
        yield


async def compare(slots: int, limits: list[int], learn_s: float) -> bool:
    """The benchmark; whether what is learned is good enough."""
    write, clients = sys.stdout.write, Clients()
    fixed: dict[int, float] = {}
    learned: list[tuple[int, float]] = []
    options = ("--host", "127.0.0.1", "--port", str(PORT), "--admin-port", str(ADMIN), "--model", MODEL)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with program(folder, "queue", "headrace_queue", *options) as queue:
            async with aiohttp.ClientSession() as http:
                await answers(http, f"http://127.0.0.1:{ADMIN}/healthz", queue)
                for limit in limits:
                    async with worker(folder, http, slots, limit), clients.asking(2 * slots):
                        await asyncio.sleep(WARM_S)
                        fixed[limit] = await clients.rate(MEASURED_S)
                        write(f"given {limit:5}: {fixed[limit]:8.0f} tokens/s\n")
                async with worker(folder, http, slots, None), clients.asking(2 * slots):
                    for _ in range(int(learn_s / LOOK_S)):
                        learned.append((await limit_now(http), await clients.rate(LOOK_S)))
    write("learned, every 3 s: " + ", ".join(f"{limit} ({tokens:.0f}/s)" for limit, tokens in learned) + "\n")
    settled = learned[len(learned) // 2 :]
    limit = statistics.median(limit for limit, _ in settled)
    share = statistics.mean(tokens for _, tokens in settled) / max(fixed.values())
    write(f"in the second half: {limit:.0f} at a time, {100 * share:.0f} % of the best throughput at a given limit\n")
    return share >= ENOUGH


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slots", type=int, default=128)
    parser.add_argument("--limits", type=int, nargs="+", default=[1, 4, 16, 64, 128])
    parser.add_argument("--learn", type=float, default=120, metavar="SECONDS")
    given = parser.parse_args()
    return 0 if asyncio.run(compare(given.slots, given.limits, given.learn)) else 1


if __name__ == "__main__":
    sys.exit(main())
