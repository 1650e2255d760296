"""How many requests at a time: the controller against a model of an engine, and the same through the protocol."""

import asyncio
import json
import random
import statistics
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_api.wire import Credit
from headrace_worker import learner
from headrace_worker.capacity import Capacity, Window, after, first
from headrace_worker.learner import Memory, is_full, learn, seen
from headrace_worker.status import Traffic
from tests.waiting import until
from tests.worker.conftest import Pulling
from tests.worker.scripted_engine import ScriptedEngine
from tests.worker.scripted_queue import ScriptedQueue

Start = Callable[..., AbstractAsyncContextManager[Pulling]]
TOKEN_S = 0.02
"""The modelled engine's time for one step, as long as its batch is not full."""


def step_s(limit: int, saturates_at: int, shape: str) -> float:
    """How long an engine takes for a token of each of so many requests."""
    over = limit / saturates_at
    shapes = {
        "level": max(1.0, over),  # the same up to where it saturates, and proportionally longer beyond
        "gentle": 1 + over,  # every request makes it a little slower
        "falling": max(1.0, over) * (1 + max(0.0, over - 1) / 2),  # it gets less done with too many
    }
    return TOKEN_S * shapes[shape]


def modelled(limit: int, saturates_at: int, chance: random.Random, shape: str = "level", noise: float = 0.02) -> Window:
    time_s = step_s(limit, saturates_at, shape)
    return Window(limit / time_s * chance.gauss(1, noise), time_s * chance.gauss(1, noise))


def limits(start: Capacity, saturates_at: int, windows: int, seed: int = 1, **engine: Any) -> Iterator[int]:
    chance, now = random.Random(seed), start  # noqa: S311 (no secret)
    for _ in range(windows):
        now = after(now, modelled(now.limit, saturates_at, chance, **engine))
        yield now.limit


@pytest.mark.parametrize("saturates_at", [8, 20, 40, 64, 100, 200])
@pytest.mark.parametrize("learned", [None, 1, 8, 256])
def test_settles_about_where_throughput_saturates(saturates_at: int, learned: int | None) -> None:
    found = list(limits(first(256, bound_s=0.05, learned=learned), saturates_at, 200))
    settled = sorted(found[100:])
    assert 0.75 * saturates_at <= settled[len(settled) // 2] <= 1.6 * saturates_at


@pytest.mark.parametrize("shape", ["level", "gentle", "falling"])
@pytest.mark.parametrize("noise", [0.0, 0.02, 0.05])
@pytest.mark.parametrize("saturates_at", [4, 16, 40, 100])
@pytest.mark.parametrize("learned", [None, 1, 256])
def test_gets_nine_tenths_of_the_best_throughput(
    shape: str, noise: float, saturates_at: int, learned: int | None
) -> None:
    found = list(limits(first(256, bound_s=0.2, learned=learned), saturates_at, 200, shape=shape, noise=noise))
    throughput = {limit: limit / step_s(limit, saturates_at, shape) for limit in range(1, 257)}
    best = max(work for limit, work in throughput.items() if step_s(limit, saturates_at, shape) <= 0.2)
    assert statistics.mean(throughput[limit] for limit in found[100:]) >= 0.9 * best


def test_takes_all_slots_of_an_engine_that_never_saturates() -> None:
    found = list(limits(first(256, bound_s=0.2), 1000, 40))
    assert found.index(256) < 15
    assert set(found[15:]) == {256, 204}  # fewer are tried, too
    assert found[15:].count(256) > 20


def test_falls_below_the_bound_between_tokens_and_stays_about_there() -> None:
    # at 0.05 s a step it has 2.5 times as many requests as it saturates at
    found = list(limits(first(256, bound_s=0.05, learned=256), 40, 100))
    assert max(found[10:]) <= 2.5 * 40 * 1.25
    assert min(found) >= 40 * 0.8


def test_an_engine_that_is_slow_alone_is_not_starved() -> None:
    found = list(limits(first(64, bound_s=0.001), 16, 60))
    assert min(found) >= 8
    assert sorted(found)[len(found) // 2] in range(14, 24)


def test_a_lowering_is_judged_by_streams_that_began_after_it() -> None:
    lowered = after(first(64, bound_s=0.05, learned=60), Window(100, 0.06))
    assert lowered.limit == 42
    assert after(lowered, Window(100, None)) == lowered
    assert after(lowered, Window(100, 0.045)).limit == 42
    assert after(lowered, Window(100, 0.059)).limit == 60
    assert after(lowered, Window(100, 0.052)).limit == 29


def test_learns_nothing_while_it_has_less_to_do_than_it_might() -> None:
    now = first(256, bound_s=0.2)
    assert after(now, Window(100, 0.01, full=False)).limit == now.limit


def test_what_brings_nothing_is_taken_back_and_the_other_direction_tried_later() -> None:
    now = first(256, bound_s=1.0, learned=40)
    found = []
    for _ in range(16):
        now = after(now, Window(25.0 * min(now.limit, 40), 0.02))
        found.append(now.limit)
    assert found == [50, *[40] * 6, 32, *[40] * 6, 50, 40]


def test_fewer_are_kept_where_they_do_as_much() -> None:
    now = first(256, bound_s=1.0, learned=40)
    found = []
    for _ in range(11):
        now = after(now, Window(25.0 * min(now.limit, 20), 0.02))
        found.append(now.limit)
    assert found == [50, *[40] * 6, 32, 25, 20, 16]


def test_a_window_without_any_work_teaches_nothing() -> None:
    now = after(first(256, bound_s=1.0, learned=40), Window(1000.0, 0.02))
    assert after(now, Window(0.0, None)) == now


@given(
    st.integers(1, 300),
    st.integers(1, 300) | st.none(),
    st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 10) | st.none(), st.booleans()), max_size=50),
)
def test_never_less_than_one_and_never_more_than_the_slots(
    most: int, learned: int | None, history: list[tuple[float, float | None, bool]]
) -> None:
    now = first(most, 0.2, learned)
    for throughput, inter_token_s, full in history:
        now = after(now, Window(throughput, inter_token_s, full))
        assert 1 <= now.limit <= most


def test_is_full_with_hardly_a_slot_free() -> None:
    assert [is_full(under_way, 1) for under_way in (0, 1)] == [False, True]
    assert [is_full(under_way, 32) for under_way in (27, 28, 32, 33)] == [False, True, True, False]


def test_a_window_from_what_was_counted() -> None:
    before = Traffic(1000, ended=1, stream_tokens=10, stream_s=1.0)
    now = Traffic(5000, ended=5, stream_tokens=110, stream_s=6.0)
    assert seen(before, now, 2.0, full=True, streams=True) == Window(2000.0, 0.05, full=True)
    assert seen(before, now, 2.0, full=True, streams=False) == Window(2000.0, 0.05, full=False)
    assert seen(before, Traffic(1000, ended=500), 2.0, full=True, streams=False).full
    assert seen(before, before, 2.0, full=True, streams=True) == Window(0.0, None, full=True)


def test_what_was_learned_is_kept_by_fingerprint(tmp_path: Path) -> None:
    file = tmp_path / "state" / "capacity.json"
    one, other = Memory(file, "a" * 16), Memory(file, "b" * 16)
    assert one.recall() is None
    one.keep(40)
    other.keep(7)
    assert (one.recall(), other.recall()) == (40, 7)
    for number in range(150):
        Memory(file, str(number)).keep(1)
    assert one.recall() is None
    assert len(json.loads(file.read_text())) == 100
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("content", ["", "no json", "[1]", '{"aaaaaaaaaaaaaaaa": "x"}', '{"aaaaaaaaaaaaaaaa": -4}'])
def test_a_file_that_cannot_be_used_is_as_good_as_none(tmp_path: Path, content: str) -> None:
    file = tmp_path / "capacity.json"
    file.write_text(content)
    memory = Memory(file, "a" * 16)
    assert memory.recall() is None
    memory.keep(5)
    assert memory.recall() == 5
    Memory(tmp_path / "capacity.json" / "beneath a file", "a").keep(5)


async def test_more_is_granted_and_less_by_withholding(
    queue: ScriptedQueue, engine: ScriptedEngine, pulling: Start
) -> None:
    async with pulling(queue.url, slots=2) as worker:
        connection = await queue.connection()
        _, credit = await connection.greet()
        assert credit.n == 2
        worker.status.set_slots(5)
        assert (await connection.expect(Credit)).n == 3
        for job in range(5):
            await connection.ask(job, "held", stream=True)
        await until(lambda: len(connection.answers) == 5)
        worker.status.set_slots(4)
        engine.go_on.set()
        assert len(await connection.results(5, granted=4)) == 5
        assert connection.messages.empty()


async def test_learns_from_what_goes_over_the_connection(
    queue: ScriptedQueue, pulling: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learner, "TICK_S", 0.02)
    monkeypatch.setattr(learner, "seen", lambda *_, full, streams: Window(1000.0, 0.02, full=full and streams))
    memory = Memory(tmp_path / "capacity.json", "f" * 16)
    async with pulling(queue.url, slots=2) as worker:
        connection = await queue.connection()
        await connection.greet()
        learning = asyncio.create_task(learn(worker.status, first(8, 10.0, 2), memory))
        for job in range(2):
            await connection.ask(job, "held", stream=True)
        assert (await connection.expect(Credit)).n == 1  # full: one more is tried
        await connection.ask(3, "held", stream=True)
        await until(lambda: memory.recall() == 2)  # which brought nothing
        assert worker.status.offer
        assert worker.status.offer.slots == 2
        learning.cancel()
