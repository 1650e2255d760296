"""The operator killed around every write of a model's life, refused, cut off, and left with a stale view."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import pytest

from tests.faults import sieve
from tests.faults.lane import Lane, Lanes
from tests.faults.misbehaviour import AWAY, BROKEN, CONFLICT, THROTTLED, Delay, Drop, Fate, Repeat
from tests.faults.scenario import LIFE

pytestmark = pytest.mark.cluster

_ALL = os.environ.get("HEADRACE_FAULTS") == "all"
"""Every event instead of a fixed selection: half an hour instead of minutes."""


def _selected(first: int, step: int) -> range:
    return range(1, 60) if _ALL else range(first, 60, step)


async def _side_by_side(lanes: Lanes, *works: Callable[[Lane], Awaitable[Any]]) -> list[Any]:
    """Each work in a lane of its own; the first failure fails the test."""

    async def one(work: Callable[[Lane], Awaitable[Any]]) -> Any:
        async with lanes.open("sieve") as lane:
            lane.patience_seconds = 60
            return await work(lane)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(work)) for work in works]
    return [task.result() for task in tasks]


def _lives(strike: sieve.Strike, numbers: Iterable[int]) -> Callable[[Lane], Awaitable[sieve.Struck]]:
    return lambda lane: sieve.live(lane, strike, numbers)


async def test_killed_before_and_after_every_write(lanes: Lanes) -> None:
    before, after = sieve.on_write(Fate.KILL_BEFORE), sieve.on_write(Fate.KILL_AFTER)
    odd, even = range(1, 60, 2), range(2, 60, 2)
    lives = [_lives(strike, numbers) for strike in (before, after) for numbers in (odd, even)]
    results = await _side_by_side(lanes, *lives)
    struck = {name for result in results for name in result.times}
    # a deletion is the garbage collector's work alone, and a foreign annotation is nothing to write for
    assert struck >= {operation.name for operation in LIFE} - {"delete", "annotate a child"}


_REFUSALS = sieve.on_write(CONFLICT, THROTTLED, BROKEN, AWAY, Fate.CUT_BEFORE, Fate.CUT_AFTER)
_LOSSES = sieve.on_event(Drop(1.0, "gone"), Drop(1.0, "close"))


@pytest.mark.parametrize(
    ("strike", "first", "step"),
    [
        pytest.param(_REFUSALS, 1, 5, id="writes refused and cut off"),
        pytest.param(sieve.on_event(Delay(1.5)), 1, 15, id="events late"),
        pytest.param(sieve.on_event(Repeat()), 2, 15, id="events repeated"),
        pytest.param(_LOSSES, 3, 15, id="events lost"),
    ],
)
async def test_trouble_at_a_write_or_an_event(lanes: Lanes, strike: sieve.Strike, first: int, step: int) -> None:
    numbers = list(_selected(first, step))
    results = await _side_by_side(lanes, *(_lives(strike, numbers[half::2]) for half in (0, 1)))
    assert sum(sum(result.times.values()) for result in results) > len(LIFE)


async def test_started_anew_with_a_list_that_is_old(lanes: Lanes) -> None:
    await _side_by_side(lanes, _behind(lambda _: True), _behind(_is_model_list))


async def test_an_answer_that_never_comes(lanes: Lanes) -> None:
    (result,) = await _side_by_side(lanes, _hang)
    assert sum(result.times.values()) == 1


def _behind(stale: Callable[[str], bool]) -> Callable[[Lane], Awaitable[None]]:
    return lambda lane: sieve.travel(lane, stale)


def _is_model_list(path: str) -> bool:
    return path.endswith("/inferencemodels")


_DELETE = next(operation for operation in LIFE if operation.name == "delete")


async def _hang(lane: Lane) -> sieve.Struck:
    """One answer that never comes: the operator's own limit for a request is half a minute."""
    lane.patience_seconds = 90
    return await sieve.live(lane, sieve.on_write(Fate.HANG), [2], (LIFE[0], _DELETE))
