"""The operator killed around every write of a model's life, refused, cut off, and left with a stale view."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable

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


async def _side_by_side(lanes: Lanes, *works: Callable[[Lane], Awaitable[object]]) -> list[object]:
    """Each work in a lane of its own; the first failure fails the test."""

    async def one(work: Callable[[Lane], Awaitable[object]]) -> object:
        async with lanes.open("sieve") as lane:
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
    # a deletion is the garbage collector's work alone
    assert struck >= {operation.name for operation in LIFE} - {"delete"}


async def test_refused_throttled_and_cut_off(lanes: Lanes) -> None:
    strike = sieve.on_write(CONFLICT, THROTTLED, BROKEN, AWAY, Fate.CUT_BEFORE, Fate.CUT_AFTER)
    odd, even = await _side_by_side(lanes, _lives(strike, range(1, 60, 2)), _lives(strike, range(2, 60, 2)))
    assert min(sum(odd.times.values()), sum(even.times.values())) > len(LIFE)


async def test_an_answer_that_never_comes(lanes: Lanes) -> None:
    async def hang(lane: Lane) -> sieve.Struck:
        lane.patience_seconds = 90
        return await sieve.live(lane, sieve.on_write(Fate.HANG), [2], LIFE[:1])

    async with lanes.open("hang") as lane:
        struck = await hang(lane)
    assert struck.times == {"create": 1}


async def test_a_view_that_is_late_repeated_or_broken(lanes: Lanes) -> None:
    results = await _side_by_side(
        lanes,
        _lives(sieve.on_event(Delay(1.5)), _selected(1, 5)),
        _lives(sieve.on_event(Repeat()), _selected(2, 5)),
        _lives(sieve.on_event(Drop(1.0, "gone"), Drop(1.0, "close")), _selected(3, 5)),
    )
    assert all(sum(result.times.values()) > len(LIFE) for result in results)


async def test_restarted_with_lists_from_before(lanes: Lanes) -> None:
    await _side_by_side(
        lanes,
        lambda lane: sieve.travel(lane, lambda _: True),
        lambda lane: sieve.travel(lane, lambda path: path.endswith("/inferencemodels")),
    )
