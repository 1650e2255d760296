"""What queue and worker cost, and what they add, against other proxies in front of the same fake engine, in one run.

    python -m tests.bench.queue_costs [--repeat 3] [--install-peers] [--peer NAME=COMMAND ...]

Of each subject the CPU-seconds of its processes are counted, those of engine and load generator are not. All subjects
take turns, so that a slow moment of the machine meets all; what is compared is the median of the ratios of the turns.
The built-in peer is the least that plain Python can do (`bare`). `--install-peers` gets LiteLLM and vLLM's
router from PyPI. Any other peer is a command line, in which {port} is where it shall listen and {engine} the engine's
URL: `--peer "mine=/path/to/proxy --listen 127.0.0.1:{port} --to {engine}"`; ` ->/openai/v1/chat/completions` at its end
says where it has chat completions, if not at OpenAI's path; a whole URL there is for one whose port is fixed.
"""

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import aiohttp

from tests.bench.queue_costs import peers, subjects
from tests.bench.queue_costs.leaving import leave
from tests.bench.queue_costs.loads import BURST, LOADS, ONE, ONE_STREAM, OPEN, Kind, Round, Rounds
from tests.bench.queue_costs.report import table
from tests.bench.queue_costs.subjects import CHAT, FOLDER, Subject

_SETTLE_S = 0.3
_LEAVING = 100
_LEAVING_PACE_MS = 20
_WARM = Kind("warm", "requests", 8, 200, 4, stream=True)


async def pace(engine_port: int, ms: float) -> None:
    """Have the engine give its tokens in that rhythm."""
    url = f"http://127.0.0.1:{engine_port}/pace"
    async with aiohttp.ClientSession() as http, http.post(url, json={"ms": ms}) as got:
        got.raise_for_status()


async def loaded(kind: Kind, url: str) -> dict[str, Any]:
    """One load by the load generator."""
    command = (sys.executable, str(FOLDER / "client.py"), json.dumps(kind.wanted(url)))
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    seen: dict[str, Any] = json.loads(out)
    return seen


async def measured(kind: Kind, subject: Subject, engine_port: int) -> Round:
    """One load on one subject, and what it cost."""
    await pace(engine_port, kind.pace_ms)
    before = subject.cpu()
    seen = await loaded(kind, subject.url)
    await asyncio.sleep(_SETTLE_S)  # what is done after the last answer counts as well
    after = subject.cpu()
    return Round(seen, {name: after[name] - before[name] for name in after})


async def memory_of_open(subject: Subject, engine_port: int) -> tuple[Round, dict[str, float]]:
    """The most that its programs held while many streams were open."""
    peak: dict[str, float] = {}
    measuring = asyncio.create_task(measured(OPEN, subject, engine_port))
    while not measuring.done():
        for name, mib in subject.memory_mib().items():
            peak[name] = max(peak.get(name, 0.0), mib)
        await asyncio.sleep(0.2)
    return measuring.result(), peak


def say(name: str, kind: Kind, one: Round) -> None:
    """A line per measurement, so that a slow peer is seen."""
    figures = ", ".join(f"{part} {one.per_cpu_second(kind.unit, part):,.0f}" for part in one.cpu)
    errors = f"; {one.seen['errors']} ERRORS, e.g. {one.seen['examples']}" if one.seen["errors"] else ""
    sys.stderr.write(f"{kind.name:26}{name:18}{one.seen['seconds']:6.1f} s  {kind.unit}/CPU-s: {figures}{errors}\n")


@contextlib.asynccontextmanager
async def running(folder: Path, given: argparse.Namespace) -> AsyncIterator[tuple[list[Subject], Subject, int]]:
    """All subjects, and the engine itself."""
    async with contextlib.AsyncExitStack() as stack:
        ours, engine_port = await stack.enter_async_context(subjects.headrace(folder, given.queue_option))
        engine_url = f"http://127.0.0.1:{engine_port}"
        commands = {"bare": f"{sys.executable} {FOLDER / 'bare.py'} {{port}} {{engine_port}}"}
        if given.install_peers:
            programs = await asyncio.to_thread(peers.install, given.cache)
            commands |= peers.commands(programs, folder, engine_url)
        commands |= dict(one.split("=", 1) for one in given.peer)
        others = [
            await stack.enter_async_context(subjects.peer(folder, name, command, engine_port))
            for name, command in commands.items()
        ]
        yield [ours, *others], Subject("engine", engine_url + CHAT, {}), engine_port


async def compare(given: argparse.Namespace) -> bool:
    """Everything; whether every target is reached."""
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        async with running(Path(name), given) as (all_of_them, engine, engine_port):
            rounds = {one.name: Rounds() for one in (*all_of_them, engine)}
            for subject in all_of_them:
                await measured(_WARM, subject, engine_port)
            for turn in range(given.repeat):
                await take(rounds, LOADS, _turned(all_of_them, turn), engine_port)
                await take(rounds, (ONE, ONE_STREAM), _turned([*all_of_them, engine], turn), engine_port)
            await pace(engine_port, _LEAVING_PACE_MS)
            gone = {one.name: await leave(one.url, engine_port, _LEAVING) for one in all_of_them}
            memory: dict[str, float] = {}
            if not given.quick:
                ours = all_of_them[:1]
                await take(rounds, (BURST,), ours, engine_port)
                one, memory = await memory_of_open(ours[0], engine_port)
                rounds["headrace"].add(OPEN, one)
    text, reached = table(rounds, gone, memory)
    sys.stdout.write(text)
    return reached


async def take(rounds: dict[str, Rounds], kinds: Iterable[Kind], some: list[Subject], engine_port: int) -> None:
    """Each load on each subject."""
    for kind in kinds:
        for subject in some:
            one = await measured(kind, subject, engine_port)
            rounds[subject.name].add(kind, one)
            say(subject.name, kind, one)


def _turned(some: list[Subject], turn: int) -> list[Subject]:
    at = turn % len(some)
    return some[at:] + some[:at]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="without 1,000 at once and 5,000 open streams")
    parser.add_argument("--install-peers", action="store_true", help="LiteLLM and vLLM's router, from PyPI")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "headrace" / "bench-peers")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=COMMAND", help="see above; repeatable")
    parser.add_argument("--queue-option", action="append", default=[], help="passed to headrace-queue; repeatable")
    given = parser.parse_args()
    sys.exit(not asyncio.run(compare(given)))


if __name__ == "__main__":
    main()
