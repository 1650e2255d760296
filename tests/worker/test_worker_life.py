"""The worker's life, state by state, with engines that have a trouble of their own."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from websockets.asyncio.server import ServerConnection, serve

from headrace_api.wire import WORKER_PATH, Credit, Drain, HandBack, Report, Result, Serving
from headrace_api.worker_config import Generator
from headrace_worker import health, life, puller
from headrace_worker.adapters.told import Told
from headrace_worker.decision import Decision
from headrace_worker.engine_client import EngineClient
from headrace_worker.engines.protocol import EngineConfigError
from headrace_worker.learner import Memory
from headrace_worker.life import Cause, State
from headrace_worker.parts import NoAdapters, OnProgress, PreparationError
from headrace_worker.status import Progress
from tests.waiting import until
from tests.worker.living import Fetching, living, registered, states
from tests.worker.scripted_queue import ScriptedQueue
from tests.worker.seed_spider import Spider
from tests.worker.seed_spider import url as spider_url

pytestmark = pytest.mark.slow


def test_a_life_in_order() -> None:
    state = State.FETCHING
    for cause in (Cause.FETCHED, Cause.ANSWERED, Cause.WARMED, Cause.ASKED_TO_STOP, Cause.DRAINED):
        state = life.after(state, cause)
    assert state is State.STOPPED


@pytest.mark.parametrize("state", list(State))
def test_every_state_but_the_last_can_be_ended_by_a_signal_or_is_being_ended(state: State) -> None:
    if state in {State.STOPPED, State.FAILED}:
        assert life.causes(state) == frozenset()
    elif state is State.DRAINING:
        assert life.after(state, Cause.DRAINED) is State.STOPPED
    else:
        assert life.after(state, Cause.ASKED_TO_STOP) is State.DRAINING
        assert life.after(state, Cause.REFUSED) is State.FAILED


def test_what_cannot_follow_is_an_error() -> None:
    with pytest.raises(ValueError, match="a worker that is fetching cannot go on because the engine has given its"):
        life.after(State.FETCHING, Cause.WARMED)


def test_failing_ends_in_failed_and_only_ready_serves() -> None:
    for state in State:
        for cause in life.causes(state):
            following = life.after(state, cause)
            assert (following is State.READY) == (cause is Cause.WARMED)
            assert state is not following


async def test_registers_at_once_reports_how_far_it_is_and_grants_when_ready(
    tmp_path: Path, queue: ScriptedQueue
) -> None:
    fetch = Fetching(*(Progress("model.safetensors", done, 100) for done in range(0, 100, 10)))
    async with living(tmp_path, queue.url, fetch=fetch) as worker:
        connection, register = await registered(queue)
        assert (register.state, register.capacity, register.models) == ("fetching", None, ["m"])
        await until(lambda: [report.done_bytes for report in connection.reports][-1:] == [90])
        assert len(connection.reports) <= 3  # of ten within 0.2 s
        assert connection.reports[-1] == Report("fetching", "model.safetensors", done_bytes=90, total_bytes=100)
        assert (await worker.probe("/readyz"))[1]["missing"][0] == "the worker is fetching"
        assert (await worker.probe("/startedz"))[0] == 503
        assert connection.messages.empty()
        fetch.go_on.set()
        assert (await connection.expect(Credit)).n == 4
        await until(lambda: states(connection)[-1:] == ["ready"])
        assert states(connection)[-3:] == ["loading", "warming", "ready"]
        assert (await worker.probe("/readyz"))[0] == 200
        worker.sigterm()
        await connection.expect(Drain)
        assert await worker.status() == 0
        assert states(connection)[-1] == "draining"


async def test_a_refused_token_is_known_before_the_weights_are_there(
    tmp_path: Path, queue: ScriptedQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(puller, "REFUSED_S", 0.5)
    queue.refuse = 401
    fetch = Fetching()
    async with living(tmp_path, queue.url, fetch=fetch) as worker:
        assert await worker.status(20) == 1
        assert worker.termination_log.read_text().splitlines()[0].endswith("this worker's token (status 401)")
        assert fetch.cleaned_up


async def test_weights_that_cannot_be_had(tmp_path: Path, queue: ScriptedQueue) -> None:
    why = "s3://bucket/model: access denied (403); give credentials"

    async def fetch(_generator: Generator, _progress: OnProgress, /) -> Generator:
        await asyncio.sleep(1)
        raise PreparationError(why)

    async with living(tmp_path, queue.url, fetch=fetch) as worker:
        connection, _ = await registered(queue)
        assert await worker.status() == 1
        assert worker.termination_log.read_text().startswith(why)
        assert [(report.state, report.detail) for report in connection.reports] == [("failed", why)]


async def test_an_environment_that_cannot_be_made(tmp_path: Path, queue: ScriptedQueue) -> None:
    async def prepare(
        _decided: Decision, _environment: Mapping[str, str], _progress: OnProgress, /
    ) -> Mapping[str, str]:
        raise PreparationError("runtime_env.pip: no such package")

    async with living(tmp_path, queue.url, prepare_environment=prepare) as worker:
        assert await worker.status() == 1
        assert worker.termination_log.read_text().startswith("runtime_env.pip: no such package")


async def test_a_configuration_that_proves_unusable(tmp_path: Path, queue: ScriptedQueue) -> None:
    def decide(*_: object) -> None:
        raise EngineConfigError("generator.max_total_tokens: 9 is too much")

    async with living(tmp_path, queue.url, decide=decide) as worker:
        with pytest.raises(EngineConfigError, match="9 is too much"):
            await worker.status()
        assert worker.termination_log.read_text().startswith("generator.max_total_tokens")


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        ("cold", "the engine answered its first request with 500: "),
        ("brittle", "the engine exited with status 3 before it was ready"),
    ],
)
async def test_an_engine_without_a_first_token(tmp_path: Path, queue: ScriptedQueue, trouble: str, words: str) -> None:
    async with living(tmp_path, queue.url, trouble) as worker:
        connection, _ = await registered(queue)
        assert await worker.status() == 1
        message = worker.termination_log.read_text()
        assert message.startswith(words)
        assert ("no kernel image is available" if trouble == "cold" else "illegal memory access") in message
        assert states(connection)[-1] == "failed"
        assert "ready" not in states(connection)
        assert [type(message) for message in connection.messages._queue] == [Drain]  # type: ignore[attr-defined]


async def test_a_spider_gets_a_worker_that_is_ready(tmp_path: Path) -> None:
    fetch, spider = Fetching(), Spider()
    async with (
        serve(spider.accept, "127.0.0.1", 0) as server,
        living(tmp_path, spider_url(server) + WORKER_PATH, fetch=fetch) as worker,
    ):
        await asyncio.sleep(1)
        assert spider.workers.empty()
        fetch.go_on.set()
        await asyncio.wait_for(spider.workers.get(), 15)
        assert (await worker.probe("/healthz"))[1] == {"state": "ready"}


async def test_a_spider_that_does_not_wait_is_left_alone_until_the_worker_is_ready(tmp_path: Path) -> None:
    fetch, came = Fetching(), []

    async def impatient(worker: ServerConnection) -> None:
        came.append(worker)
        if len(came) > 1:
            await spider.accept(worker)

    spider = Spider()
    async with (
        serve(impatient, "127.0.0.1", 0) as server,
        living(tmp_path, spider_url(server) + WORKER_PATH, fetch=fetch),
    ):
        await asyncio.sleep(1)
        assert len(came) == 1
        fetch.go_on.set()
        await asyncio.wait_for(spider.workers.get(), 15)


async def test_adapters_are_told_to_the_queue_and_registered_with_again(tmp_path: Path, queue: ScriptedQueue) -> None:
    class Legal(NoAdapters):
        async def keep(self, _client: EngineClient, tell: Callable[[Told], None], /) -> None:
            tell(Told(("m:legal",), {"rude": "it is not there"}))
            await asyncio.Event().wait()

    async with living(tmp_path, queue.url, adapters=Legal()):
        first, register = await registered(queue)
        assert register.adapters == []
        await first.expect(Credit)
        serving = await first.expect(Serving)
        assert (serving.models, serving.adapters) == (["m", "m:legal"], ["m:legal"])
        await first.socket.close()
        _, again = await registered(queue)
        assert (again.models, again.adapters, again.state) == (["m", "m:legal"], ["m:legal"], "ready")


async def test_a_queue_that_goes_away_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(puller, "SLOWEST_DELAY_S", 0.2)
    away = ScriptedQueue()
    async with contextlib.AsyncExitStack() as stack:
        async with away.serving() as there:
            worker = await stack.enter_async_context(living(tmp_path, there.url, queue={"http_request_retries": 2}))
            connection = await there.connection()
            await connection.greet()
            await worker.until_in("ready")
        await asyncio.sleep(0.5)
        # longer than the fast retries last
        for _ in range(5):
            await asyncio.sleep(0.2)
            assert (await worker.probe("/readyz"))[1] == {
                "ready": False,
                "state": "ready",
                "missing": ["not registered with the queue"],
            }
            assert (await worker.probe("/healthz"))[0] == 200
        async with away.serving() as again:
            _, credit = await (await again.connection()).greet()
            assert credit.n == 4
            async with asyncio.timeout(5):
                while (await worker.probe("/readyz"))[0] != 200:
                    await asyncio.sleep(0.02)
            worker.sigterm()
            assert await worker.status() == 0


async def test_an_answer_that_is_not_streamed_may_take_its_time_where_the_engine_has_no_metrics(
    tmp_path: Path, queue: ScriptedQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "EVERY_S", 0.05)
    async with living(tmp_path, queue.url, "late", HEADRACE_HANG_SECONDS="0.5"):
        connection = await queue.connection()
        await connection.greet()
        await connection.ask(1, "hello", stream=False)
        assert (await connection.expect(Result)).status == 200


async def test_an_engine_that_ends_while_the_worker_drains(tmp_path: Path, queue: ScriptedQueue) -> None:
    async with living(tmp_path, queue.url, "silent") as worker:
        connection = await queue.connection()
        await connection.greet()
        await connection.ask(1, "hello", stream=True)
        await connection.first_piece()
        worker.sigterm()
        await connection.expect(Drain)
        for process in worker.engine_processes():
            if "guard.py" not in " ".join(process.cmdline()):
                process.kill()
        assert (await connection.expect(Result)).status == 502
        await connection.ack("request-1")
        # 0 where the end of its last request was seen before its own
        status = await worker.status(5)
        words = {0: "the worker was told to stop while serving", 1: "the engine was killed by SIGKILL while serving"}
        assert worker.termination_log.read_text().startswith(words[status])


async def test_capacity_is_what_the_file_says_else_what_an_earlier_life_learned(
    tmp_path: Path, queue: ScriptedQueue
) -> None:
    cache = {"HEADRACE_CACHE": str(tmp_path)}
    async with living(tmp_path, queue.url, queue={"max_concurrent_queries": 3}, **cache):
        connection = await queue.connection()
        register, credit = await connection.greet()
        assert (register.capacity, credit.n) == (3, 3)
    Memory(tmp_path / "capacity.json", register.fingerprint).keep(2)
    async with living(tmp_path, queue.url, **cache):
        register, credit = await (await queue.connection()).greet()
        assert (register.capacity, credit.n) == (None, 2)


@pytest.mark.parametrize(
    ("trouble", "hang_seconds", "words"),
    [
        ("stopped", "180", "the engine has not answered its health check for "),
        ("silent", "0.5", "the engine has requests and has given no token for "),
    ],
)
async def test_a_hung_engine_is_killed(  # noqa: PLR0917 (fixtures)
    tmp_path: Path,
    queue: ScriptedQueue,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    trouble: str,
    hang_seconds: str,
    words: str,
) -> None:
    monkeypatch.setattr(health, "EVERY_S", 0.05)
    monkeypatch.setattr(health, "TIMEOUT_S", 0.2)
    async with living(tmp_path, queue.url, trouble, HEADRACE_HANG_SECONDS=hang_seconds) as worker:
        connection = await queue.connection()
        await connection.greet()
        await connection.ask(1, "hello", stream=True)
        await connection.first_piece()
        await connection.ask(2, "hello", stream=True)
        await connection.expect(Drain)
        ends = [await asyncio.wait_for(connection.messages.get(), 15) for _ in range(2)]
        assert {type(end): end.job for end in ends} == {Result: 1, HandBack: 2}
        assert [end.status for end in ends if isinstance(end, Result)] == [502]
        assert [end.failed for end in ends if isinstance(end, HandBack)] == [True]
        await connection.ack("request-1")
        assert await worker.status() == 1
        assert worker.termination_log.read_text().startswith(words)
        logged = capsys.readouterr().out
        assert words in logged
        assert "request-1" in next(line for line in logged.splitlines() if "lost part-way" in line)
        assert states(connection)[-2:] == ["ready", "failed"]
        assert connection.reports[-1].detail.startswith(words)
