"""Thousands of runs of queue and workers, each with troubles of its own; and whether those runs could find anything."""

import multiprocessing
import os
import re
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from tests.simulation import mutations
from tests.simulation.check import failures

pytestmark = pytest.mark.slow

SEEDS = int(os.environ.get("HEADRACE_SIMULATION_SEEDS", "10000"))
"""Each takes 16 ms of a core: on two, which nobody else uses, 10,000 take about 80 s, and the rest of this file 10 s.

`python -m tests.simulation FIRST LAST` runs any others.
"""
_CHUNK = 125
_ROOT = Path(__file__).parents[2]


def some(first: int) -> list[tuple[int, str]]:
    return list(failures(first, min(_CHUNK, SEEDS - first)))


def test_nothing_is_lost_whatever_happens() -> None:
    processes = len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        found = [failure for chunk in pool.map(some, range(0, SEEDS, _CHUNK)) for failure in chunk]
    told = "\n".join(f"python -m tests.simulation {seed}\n{failure}" for seed, failure in found[:5])
    assert not found, f"{len(found)} of {SEEDS} seeds fail: {[seed for seed, _ in found[:20]]}\n{told}"


@pytest.mark.parametrize("mutation", mutations.ALL, ids=lambda mutation: mutation.__name__)
def test_it_finds_what_is_broken(mutation: mutations.Break, monkeypatch: pytest.MonkeyPatch) -> None:
    mutation(monkeypatch)
    _, failure = next(failures(0, 1000), (None, ""))
    assert failure, "1,000 seeds did not find it"
    assert not re.search("TypeError|AttributeError|NameError", failure), (
        f"the mutation does not fit the code: {failure}"
    )


@pytest.mark.parametrize("seed", [7, 2474])
def test_a_seed_is_one_run(seed: int) -> None:
    first, second = (_replayed(seed, hashes) for hashes in ("1", "2"))
    assert first == second
    assert len(first.splitlines()) > 30


def _replayed(seed: int, hashes: str) -> str:
    env = os.environ | {"PYTHONHASHSEED": hashes}
    command = [sys.executable, "-m", "tests.simulation", str(seed)]
    return subprocess.run(command, cwd=_ROOT, env=env, capture_output=True, text=True, check=True).stdout
