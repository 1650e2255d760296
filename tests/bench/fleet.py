"""A fleet: what the operator costs with a thousand models, beside a plain client that writes the same objects.

    python -m tests.bench.fleet [--models 1000] [--rest 120] [--peer COMMAND]

Each part has a private control plane of its own with fake nodes. First a plain concurrent client creates the models
and writes, for each, the same children and a status: that is what this API server allows. Then the operator does, until
all are written and until all are ready; then nothing happens for a while; then the operator starts again. What it wrote
is counted by the API server. The exit status is 1 when a target is missed.

A peer is measured where the command of its operator is given (or HEADRACE_BENCH_PEER), with its CRDs (file or folder)
in HEADRACE_BENCH_PEER_CRDS, a manifest of one of its models, called NAME and of one pod, in HEADRACE_BENCH_PEER_MODEL,
and the resource in HEADRACE_BENCH_PEER_RESOURCE. A model counts as served once there is its pod.
"""

import argparse
import asyncio
import contextlib
import json
import os
import shlex
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator

from tests import plane as planes
from tests.bench.measure import client as clients
from tests.bench.measure import peer, program
from tests.bench.measure.client import CONFIG, NAMESPACE, Client
from tests.bench.measure.report import Report

_QUIET_SECONDS = 10.0
_PATIENCE_SECONDS = 900.0
"""For as many as a thousand models; more have more time."""


@contextlib.contextmanager
def plane_with_nodes(models: int) -> Iterator[planes.Plane]:
    """A fresh control plane on which so many pods find room."""
    with planes.running(controllers=True, scheduler=True) as plane:
        plane.start_fake_nodes(planes.fake_nodes(max(9, models // 50)))
        yield plane


def say(text: str) -> None:
    """What is going on."""
    sys.stderr.write(f"{text}\n")


async def limit(report: Report) -> None:
    """What a plain client needs."""
    say("a plain client writes")
    with plane_with_nodes(report.models) as plane:
        async with clients.connected(plane) as client:
            await client.make_namespace()
            began = time.perf_counter()
            await client.write_all(report.models)
            report.limit_seconds = time.perf_counter() - began
            report.children = await client.children() // report.models


async def operator(report: Report, rest: float, python: list[str]) -> None:
    """What the operator needs, and what it costs afterwards."""
    with plane_with_nodes(report.models) as plane:
        async with clients.connected(plane) as client:
            await client.make_namespace()
            options = {
                "namespaces": NAMESPACE,
                "queue-url": CONFIG.queue_url,
                "images": json.dumps(dict(CONFIG.images)),
            }
            running, port = program.operator(plane, options, python)
            running.start()
            await program.ready(port)
            say(f"after {report.limit_seconds:.1f} s; the operator writes")
            before = await client.writes()
            await create(report, client)
            say(f"after {report.applied_seconds:.1f} s, ready after {report.ready_seconds:.1f} s")
            report.cpu_seconds = running.cpu_seconds()
            await quiet(client)
            report.writes = await client.writes() - before
            report.events = await client.events()
            report.peak_mib = running.memory_mib("VmHWM")
            say(f"{report.writes_per_model:.2f} writes per model, {report.peak_mib:.0f} MiB; now nothing happens")
            if (children := await client.children()) != report.models * report.children:
                raise RuntimeError(f"there are {children} children of {report.models} models")
            await at_rest(report, client, running, rest)
            await restart(report, client, running, port)


async def create(report: Report, client: Client) -> None:
    """Create all models and watch until the last is written and ready."""
    written: set[str] = set()
    ready: set[str] = set()
    began = time.perf_counter()
    making = asyncio.create_task(client.make_models(report.models))
    async with asyncio.timeout(_PATIENCE_SECONDS * max(1.0, report.models / 1000)):
        async for model in client.watch_models():
            name, status = model["metadata"]["name"], model.get("status") or {}
            states = {one["type"]: one["status"] for one in status.get("conditions", [])}
            if states and name not in written:
                written.add(name)
                report.applied_seconds = time.perf_counter() - began
            if states.get("Ready") == "True" and name not in ready:
                ready.add(name)
                report.ready_seconds = time.perf_counter() - began
                if len(ready) == report.models:
                    break
    await making


async def quiet(client: Client) -> None:
    """Wait until nothing is written for a while: numbers are written last."""
    last: Counter[str] | None = None
    while (now := await client.writes()) != last:
        last = now
        await asyncio.sleep(_QUIET_SECONDS)


async def at_rest(report: Report, client: Client, running: program.Program, seconds: float) -> None:
    """Nothing happens."""
    before, cpu, began = await client.writes(), running.cpu_seconds(), time.perf_counter()
    await asyncio.sleep(seconds)
    report.rest_seconds = time.perf_counter() - began
    report.rest_cpu_percent = 100 * (running.cpu_seconds() - cpu) / report.rest_seconds
    report.rest_writes = (await client.writes() - before).total()
    report.rest_mib = running.memory_mib()


async def restart(report: Report, client: Client, running: program.Program, port: int) -> None:
    """The operator ends and starts again, and finds everything as it left it."""
    before = await client.writes()
    running.stop()
    running.start()
    report.restart_seconds = await program.ready(port)
    await quiet(client)
    report.restart_writes = (await client.writes() - before).total()
    report.restart_peak_mib = running.memory_mib("VmHWM")


async def compare(report: Report, files: peer.PeerFiles) -> None:
    """The peer, which may take as long as our operator took ten times."""
    with plane_with_nodes(report.models) as plane:
        async with clients.connected(plane) as client:
            give_up = max(300.0, 10 * report.applied_seconds)
            report.peer = await peer.measure(plane, client, files, report.models, give_up)


async def run(report: Report, rest: float, files: peer.PeerFiles | None, python: list[str]) -> None:
    """All parts."""
    await limit(report)
    await operator(report, rest, python)
    if files:
        await compare(report, files)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument(
        "--rest", type=float, default=120.0, help="seconds in which nothing happens, the regular look among it"
    )
    parser.add_argument("--peer", default=os.environ.get("HEADRACE_BENCH_PEER"), help="a peer's operator, ready-made")
    parser.add_argument("--python", default=sys.executable, help="runs the operator; a profiler's command, for one")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON, too")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that nothing is left running
    files = peer.PeerFiles.read(given.peer) if given.peer else None
    report = Report(given.models)
    try:
        asyncio.run(run(report, given.rest, files, shlex.split(given.python)))
    finally:
        sys.stdout.write(report.table())
    if given.json:
        sys.stdout.write(json.dumps(report.figures()) + "\n")
    sys.exit(0 if report.reached else 1)


if __name__ == "__main__":
    main()
