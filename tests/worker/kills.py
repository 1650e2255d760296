"""Kills workers and engines at random moments of each state, under load: `python -m tests.worker.kills 50 [SEED]`.

A moment is a state of the life cycle, a victim (the worker or its engine) and a delay after the state was entered.
Those that fetch do so from a real S3 server. With `--states fetching` all kills meet these.
"""

import argparse
import asyncio
import contextlib
import itertools
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from headrace_worker.life import State
from tests.store import servers
from tests.worker.clients import Answer, Clients
from tests.worker.fleet import MODEL, START_S, Fleet, engine_of, queue_process
from tests.worker.worker_process import WorkerProcess, all_gone

WORKERS = 3
MIB = 2**20
_LONGEST_S = {
    State.FETCHING: 0.5,
    State.LOADING: 0.5,
    State.WARMING: 0.05,
    State.READY: 0.8,
    State.DRAINING: 0.3,
}
"""How long after a state's beginning a kill may come: about as long as the state takes."""
_IN_DOWNLOADS = 0.8
"""The share of the kills of workers that fetch which come when something has been downloaded."""


@dataclass
class Story:
    """What was done and what came of it."""

    kills: Counter[str] = field(default_factory=Counter)
    orphans: list[str] = field(default_factory=list)
    half_visible: list[str] = field(default_factory=list)
    """What a killed download left where engines look for models, without being complete."""
    downloads: Counter[str] = field(default_factory=Counter)
    """How far the killed downloads were."""
    left_over: list[str] = field(default_factory=list)
    """What is left of a killed download after the next worker has completed it."""
    answers: list[Answer] = field(default_factory=list)

    def bad(self) -> list[Answer]:
        """Answers that are neither complete nor an error that a kill explains: what had not begun is done by others."""
        return [one for one in self.answers if not (one.kind == "complete" or (one.kind == "failed" and one.begun))]

    def summary(self) -> str:
        """For people."""
        kinds = Counter(f"{one.kind} {one.code}".strip() for one in self.answers)
        kills = f"{sum(self.kills.values())} kills {dict(self.kills)}; downloads {dict(self.downloads)}"
        return f"{kills}; {len(self.answers)} requests {dict(kinds)}"


STATES = (*_LONGEST_S, State.READY)
"""READY is there twice, for that is where a worker is most of its life."""


async def story(  # noqa: PLR0917 (all but the first three have defaults)
    folder: Path,
    moments: int,
    seed: int,
    pause_s: float = 0.1,
    of: Sequence[State] = STATES,
    tell: Callable[[Story], None] = lambda _: None,
) -> Story:
    """Kill so often, one worker at a time, and start another in its place.

    Args:
        folder: for everything that is written.
        moments: how often.
        seed: of what is random.
        pause_s: that of the clients.
        of: the states that workers are killed in, in equal parts.
        tell: called after each kill.
    """
    told, chance = Story(), random.Random(seed)  # noqa: S311 (no secret)
    states = [state for _, state in zip(range(moments), itertools.cycle(of), strict=False)]
    chance.shuffle(states)
    async with queue_process() as url, Fleet(folder, url) as fleet:
        with servers.s3(folder) as bucket:
            mirror = Mirror(bucket, fleet.model)
            workers = await fleet.started(WORKERS)
            async with Clients(url, MODEL, seed, pause_s=pause_s).asking() as clients:
                told.answers = clients.answers
                for number, state in enumerate(states):
                    place = chance.randrange(WORKERS)
                    if state in {State.READY, State.DRAINING}:
                        await _kill_in(workers[place], state, chance, told)
                        workers[place] = await fleet.start(f"w{place}")
                        await workers[place].until_ready(START_S)
                    elif state is State.FETCHING:
                        await _kill_fetching(fleet, mirror, folder / f"hub-{number}", chance, told)
                    else:
                        await _kill_in(await fleet.start("newcomer"), state, chance, told)
                    tell(told)
            for one in workers:
                await _stop(one)
        if not await all_gone(fleet.engines()):
            told.orphans += [str(process) for process in fleet.engines()]
    return told


class Mirror:
    """The sample model in a bucket, beside enough else that fetching takes a moment."""

    def __init__(self, bucket: servers.S3, model: Path) -> None:
        self.files = {model.name: model.read_bytes(), "more.bin": servers.content(96 * MIB, seed=1)}
        bucket.put("models", {f"fleet/{name}": content for name, content in self.files.items()}, part=16 * MIB)
        self._url = bucket.url

    async def start(self, fleet: Fleet, cache: Path) -> WorkerProcess:
        """Start a worker that has to fetch it."""
        return await fleet.start(
            "newcomer",
            model_id="acme/fleet",
            s3_mirror_config={"bucket_uri": "s3://models/fleet/"},
            AWS_ENDPOINT_URL=self._url,
            AWS_ACCESS_KEY_ID=servers.KEY,
            AWS_SECRET_ACCESS_KEY=servers.SECRET,
            AWS_REGION="us-east-1",
            HF_HUB_CACHE=str(cache),
        )

    def half_visible(self, cache: Path) -> list[str]:
        """Snapshots in the cache that are there without being complete."""
        complete = {name: len(content) for name, content in self.files.items()}
        return [  # sizes are enough: the store compares hashes before a folder is there
            f"{snapshot}: {found}"
            for snapshot in cache.glob("models--*/snapshots/*")
            if (found := {path.name: path.stat().st_size for path in snapshot.iterdir()}) != complete
        ]

    @staticmethod
    def how_far(cache: Path) -> str:
        """How far a download got, by what it has left."""
        if list(cache.glob("models--*/snapshots/*")):
            return "complete"
        return "begun" if left_over(cache) else "not begun"


def left_over(cache: Path) -> list[str]:
    """Files of downloads that are not complete."""
    return [str(path) for path in cache.glob(".headrace/models--*/partial/**/*") if path.is_file()]


async def _kill_fetching(fleet: Fleet, mirror: Mirror, cache: Path, chance: random.Random, told: Story) -> None:
    """Kill a worker that fetches; the next one in the same cache gets on with it."""
    one = await mirror.start(fleet, cache)
    if chance.random() < _IN_DOWNLOADS:
        await _until_in(one, State.FETCHING)
        await _until_begun(mirror, cache)
    await _kill_in(one, State.FETCHING, chance, told)
    told.downloads[mirror.how_far(cache)] += 1
    told.half_visible += mirror.half_visible(cache)
    again = await mirror.start(fleet, cache)
    await again.until_ready(START_S)
    told.half_visible += mirror.half_visible(cache)
    told.left_over += left_over(cache)
    await _stop(again)
    await asyncio.to_thread(shutil.rmtree, cache)


async def _stop(one: WorkerProcess) -> None:
    one.process.send_signal(signal.SIGTERM)
    assert await one.exit_status(40) == 0, one.log.read_text()[-3000:]


async def _kill_in(one: WorkerProcess, state: State, chance: random.Random, told: Story) -> None:
    if state is State.DRAINING:
        one.process.send_signal(signal.SIGTERM)
    await _until_in(one, state)
    await asyncio.sleep(chance.uniform(0, _LONGEST_S[state]))
    await _kill(one, state, chance, told)


async def _kill(one: WorkerProcess, state: State, chance: random.Random, told: Story) -> None:
    engine = engine_of(one) if chance.random() < 0.5 else None
    children: list[psutil.Process] = []
    with contextlib.suppress(psutil.Error):
        children = one.children()
    what = "worker" if engine is None else "engine"
    with contextlib.suppress(psutil.Error, ProcessLookupError):
        engine.kill() if engine else one.process.kill()
    told.kills[f"{what} {state.value}"] += 1
    status = await one.exit_status(20)
    # An engine that is killed while the worker stops it has done what was wanted of it.
    accepted = {-signal.SIGKILL} if engine is None else {1}
    if state is State.DRAINING:
        accepted |= {0}
    assert status in accepted, (what, state, status, one.log.read_text()[-3000:])
    if engine and status == 1:
        assert "the engine was killed by SIGKILL" in one.termination_log.read_text()
    if not await all_gone(children):
        told.orphans += [str(child) for child in children if child.is_running()]


async def _until_begun(mirror: Mirror, cache: Path) -> None:
    end = time.monotonic() + START_S
    while mirror.how_far(cache) == "not begun":
        assert time.monotonic() < end, "no download has begun"
        await asyncio.sleep(0.002)


async def _until_in(one: WorkerProcess, state: State) -> None:
    words, end = f'"state": "{state.value}"', time.monotonic() + START_S
    while words not in one.log.read_text():
        assert time.monotonic() < end, one.log.read_text()
        await asyncio.sleep(0.005)


def _show(told: Story) -> None:
    found = f"orphans: {told.orphans}; half visible: {told.half_visible}; left over: {told.left_over}"
    sys.stdout.write(f"{told.summary()}; bad answers: {len(told.bad())}; {found}\n")
    sys.stdout.flush()


def main() -> None:
    """Kill as often as the command line says and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("moments", type=int)
    parser.add_argument("seed", type=int, nargs="?", default=1)
    parser.add_argument("--states", type=State, nargs="+", choices=list(_LONGEST_S), default=STATES)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        told = asyncio.run(story(Path(folder), given.moments, given.seed, 0.02, given.states, _show))
    _show(told)
    wrong = told.orphans or told.half_visible or told.left_over
    sys.stdout.writelines(f"{answer}\n" for answer in told.bad()[:20])
    sys.exit(bool(told.bad() or wrong))


if __name__ == "__main__":
    main()
