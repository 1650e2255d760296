"""SIGTERM in each state of a worker's life."""

import asyncio
from pathlib import Path

import pytest
from websockets.asyncio.server import serve

from headrace_api.wire import WORKER_PATH, Drain, HandBack, Result
from tests.waiting import until
from tests.worker.living import Fetching, living, registered
from tests.worker.scripted_queue import ScriptedQueue
from tests.worker.seed_spider import Spider
from tests.worker.seed_spider import url as spider_url
from tests.worker.worker_process import all_gone

pytestmark = pytest.mark.slow


async def test_sigterm_while_fetching(tmp_path: Path, queue: ScriptedQueue) -> None:
    fetch = Fetching()
    async with living(tmp_path, queue.url, fetch=fetch) as worker:
        connection, _ = await registered(queue)
        worker.sigterm()
        await connection.expect(Drain)
        assert await worker.status(3) == 0
        assert fetch.cleaned_up
        assert "was told to stop before its engine was started, after" in worker.termination_log.read_text()


@pytest.mark.parametrize(
    ("trouble", "state", "words"),
    [
        ("slow", "loading", "before its engine answered"),
        ("mute", "warming", "before its engine had given a token"),
        ("sound", "ready", "while serving"),
    ],
)
async def test_sigterm_with_an_engine(
    tmp_path: Path, queue: ScriptedQueue, trouble: str, state: str, words: str
) -> None:
    async with living(tmp_path, queue.url, trouble) as worker:
        await registered(queue)
        await worker.until_in(state)
        await until(lambda: len(worker.engine_processes()) == 2)
        children = worker.engine_processes()
        worker.sigterm()
        assert await worker.status(5) == 0
        assert f"was told to stop {words}" in worker.termination_log.read_text()
        assert await all_gone(children)


async def test_a_second_sigterm_does_not_cut_the_draining_short(tmp_path: Path, queue: ScriptedQueue) -> None:
    async with living(tmp_path, queue.url, "unhurried") as worker:
        connection = await queue.connection()
        await connection.greet()
        await connection.ask(1, "hello", stream=True)
        worker.sigterm()
        await connection.expect(Drain)
        await worker.until_in("draining")
        children = worker.engine_processes()
        worker.sigterm()
        result = await connection.expect(Result)
        assert (result.status, b"well" in connection.answers[1]) == (200, True)
        await connection.ack("request-1")
        assert await worker.status(5) == 0
        assert worker.termination_log.read_text().startswith("the worker was told to stop while serving")
        assert await all_gone(children)


async def test_sigterm_while_failing_changes_nothing(tmp_path: Path, queue: ScriptedQueue) -> None:
    async with living(tmp_path, queue.url, "silent") as worker:
        connection = await queue.connection()
        await connection.greet()
        await connection.ask(1, "hello", stream=True)
        await connection.first_piece()
        children = worker.engine_processes()
        for process in children:
            process.kill()
        await connection.expect(Drain)
        assert (await connection.expect(Result)).status == 502
        await worker.until_in("failed")  # it waits for the queue to acknowledge the result
        worker.sigterm()
        await connection.ack("request-1")
        assert await worker.status(5) == 1
        assert worker.termination_log.read_text().startswith("the engine was killed by SIGKILL while serving")
        assert await all_gone(children)


async def test_sigterm_while_a_spider_waits_for_it(tmp_path: Path) -> None:
    async with (
        serve(Spider().accept, "127.0.0.1", 0) as server,
        living(tmp_path, spider_url(server) + WORKER_PATH, fetch=Fetching()) as worker,
    ):
        await asyncio.sleep(0.5)
        worker.sigterm()
        assert await worker.status(3) == 0


async def test_the_grace_period_ends_what_does_not_end_by_itself(tmp_path: Path, queue: ScriptedQueue) -> None:
    async with living(tmp_path, queue.url, "silent", HEADRACE_GRACE_SECONDS="0.3") as worker:
        connection = await queue.connection()
        await connection.greet()
        await connection.ask(1, "hello", stream=True)
        await connection.first_piece()
        await connection.ask(2, "hello", stream=True)
        worker.sigterm()
        await connection.expect(Drain)
        ends = [await asyncio.wait_for(connection.messages.get(), 15) for _ in range(2)]
        assert {type(end): end.job for end in ends} == {Result: 1, HandBack: 2}
        assert [end.status for end in ends if isinstance(end, Result)] == [503]
        assert [end.failed for end in ends if isinstance(end, HandBack)] == [False]
        await connection.ack("request-1")
        assert await worker.status() == 0
