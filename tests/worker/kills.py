"""Kills workers and engines at random moments of each state, under load: `python -m tests.worker.kills 50 [SEED]`.

A moment is a state of the life cycle, a victim (the worker or its engine) and a delay after the state was entered.
"""

import asyncio
import contextlib
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from headrace_worker.life import State
from tests.worker.clients import Answer, Clients
from tests.worker.fleet import MODEL, START_S, Fleet, engine_of, queue_process
from tests.worker.worker_process import WorkerProcess, all_gone

WORKERS = 3
_LONGEST_S = {
    State.FETCHING: 0.02,
    State.LOADING: 0.5,
    State.WARMING: 0.05,
    State.READY: 0.8,
    State.DRAINING: 0.3,
}
"""How long after a state's beginning a kill may come: about as long as the state takes."""


@dataclass
class Story:
    """What was done and what came of it."""

    kills: Counter[str] = field(default_factory=Counter)
    orphans: list[str] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)

    def bad(self) -> list[Answer]:
        """Answers that are neither complete nor an error that the kill explains."""
        return [one for one in self.answers if not (one.kind == "complete" or (one.kind == "failed" and one.stream))]

    def summary(self) -> str:
        """For people."""
        kinds = Counter(f"{one.kind} {one.code}".strip() for one in self.answers)
        return f"{sum(self.kills.values())} kills {dict(self.kills)}; {len(self.answers)} requests {dict(kinds)}"


async def story(folder: Path, moments: int, seed: int) -> Story:
    """Kill so often, one worker at a time, and start another in its place each time."""
    told, chance = Story(), random.Random(seed)  # noqa: S311 (no secret)
    states = [state for _, state in zip(range(moments), _round(), strict=False)]
    chance.shuffle(states)
    async with queue_process() as url, Fleet(folder, url) as fleet:
        workers = await fleet.started(WORKERS)
        async with Clients(url, MODEL, seed, pause_s=0.02).asking() as clients:
            for state in states:
                place = chance.randrange(WORKERS)
                if state in {State.READY, State.DRAINING}:
                    await _kill_in(workers[place], state, chance, told)
                    workers[place] = await fleet.start(f"w{place}")
                    await workers[place].until_ready(START_S)
                else:
                    await _kill_in(await fleet.start("newcomer"), state, chance, told)
            told.answers = clients.answers
        for one in workers:
            one.process.send_signal(signal.SIGTERM)
            assert await one.exit_status(40) == 0, one.log.read_text()[-3000:]
        if not await all_gone(fleet.engines()):
            told.orphans += [str(process) for process in fleet.engines()]
    return told


def _round() -> Iterator[State]:
    """Every state in turn; READY twice as often, for that is where a worker is most of its life."""
    while True:
        yield from (*_LONGEST_S, State.READY)


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


async def _until_in(one: WorkerProcess, state: State) -> None:
    words, end = f'"state": "{state.value}"', time.monotonic() + START_S
    while words not in one.log.read_text():
        assert time.monotonic() < end, one.log.read_text()
        await asyncio.sleep(0.005)


def main() -> None:
    """Kill as often as the command line says and print what was seen."""
    moments, seed = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1
    with tempfile.TemporaryDirectory() as folder:
        told = asyncio.run(story(Path(folder), moments, seed))
    sys.stdout.write(f"{told.summary()}\norphans: {told.orphans}\n")
    sys.stdout.writelines(f"{answer}\n" for answer in told.bad()[:20])
    sys.exit(bool(told.bad() or told.orphans))


if __name__ == "__main__":
    main()
