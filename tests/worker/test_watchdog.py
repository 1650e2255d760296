"""When an engine hangs, and when it is only busy."""

import asyncio

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from headrace_worker import health
from headrace_worker.watchdog import HUNG_AFTER, Sign, Watch, hung, seen

EVERY_S = 5.0
LONGEST_S = 60.0


def watched(*signs: Sign) -> str | None:
    watch = Watch(seen_at=0, alive_at=0, moved_at=0)
    for sign in signs:
        watch = seen(watch, sign)
        if reason := hung(watch, LONGEST_S):
            return reason
    return None


def sign(
    step: int, *, answers: bool = True, under_way: int = 1, heard: bool = False, metrics: str | None = None
) -> Sign:
    at = step * EVERY_S
    return Sign(at, answers, under_way, at - 1 if heard else -1, metrics)


def test_failed_checks_in_a_row() -> None:
    dead = [sign(step, answers=False) for step in range(1, HUNG_AFTER + 1)]
    assert watched(*dead[:-1]) is None
    assert watched(*dead) == "the engine has not answered its health check for 30 s"
    assert watched(*dead[:-1], sign(HUNG_AFTER), sign(HUNG_AFTER + 1, answers=False)) is None


def test_an_engine_too_busy_for_its_checks_is_alive() -> None:
    assert watched(*(sign(step, answers=False, heard=True) for step in range(1, 50))) is None


def test_no_token_though_there_are_requests() -> None:
    assert watched(*(sign(step) for step in range(1, 12))) is None
    assert watched(*(sign(step) for step in range(1, 13))) == "the engine has requests and has given no token for 60 s"


def test_nothing_is_expected_without_requests() -> None:
    assert watched(*(sign(step, under_way=0) for step in range(1, 100))) is None
    idle = [sign(step, under_way=0) for step in range(1, 100)]
    assert watched(*idle, *(sign(step) for step in range(100, 111))) is None


def test_metrics_that_move_are_progress_and_those_that_stand_still_are_none() -> None:
    assert watched(*(sign(step, metrics=f"tokens {step}") for step in range(1, 100))) is None
    assert "no token" in (watched(*(sign(step, metrics="tokens 5") for step in range(1, 100))) or "")
    moving_then_away = [sign(step, metrics=f"tokens {step}" if step < 20 else None) for step in range(1, 100)]
    assert "no token" in (watched(*moving_then_away) or "")


def test_zero_stands_for_ever() -> None:
    watch = Watch(seen_at=0, alive_at=0, moved_at=0)
    for step in range(1, 1000):
        watch = seen(watch, sign(step))
        assert hung(watch, 0) is None


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 2)), max_size=60))
def test_an_engine_that_was_heard_of_since_the_last_look_is_never_given_up(
    history: list[tuple[bool, bool, int]],
) -> None:
    watch = Watch(seen_at=0, alive_at=0, moved_at=0)
    for step, (answers, heard, under_way) in enumerate(history, 1):
        watch = seen(watch, sign(step, answers=answers, heard=heard, under_way=under_way))
        assert not (heard and hung(watch, LONGEST_S))


async def test_only_an_engines_own_metrics_are_read() -> None:
    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(text="# HELP vllm:x\nvllm:tokens 7\nprocess_cpu_seconds_total 9\nvllm:running 1\n")

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        async with aiohttp.ClientSession() as http:
            assert await health.metrics(http, f"{url}/metrics", "vllm:") == "vllm:tokens 7\nvllm:running 1"
            assert await health.metrics(http, f"{url}/elsewhere", "vllm:") is None
            assert await health.metrics(http, "http://127.0.0.1:9/metrics", "vllm:") is None
    finally:
        await runner.cleanup()


async def test_looks_until_there_is_no_hope(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "EVERY_S", 0.001)
    noted: list[bool] = []
    answers = [True, False, False, True]

    async def look(before: Watch) -> Sign:
        await asyncio.sleep(0)
        return Sign(before.seen_at + 1, answers.pop(0) if answers else False, 0, -1)

    reason = await asyncio.wait_for(health.until_hung(look, noted.append, LONGEST_S), 10)
    assert reason == f"the engine has not answered its health check for {HUNG_AFTER} s"
    assert noted == [True, False, False, True, *[False] * HUNG_AFTER]
