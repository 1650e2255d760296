"""What the queue writes down of each request: once, whatever happens to worker, database or queue."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator

import openai
import pytest
import seed_worker
import websockets
from ledger_setup import stored
from postgres import Postgres
from queue_setup import DONE, PLAIN, Queue, Start, chunk, eventually
from v1_worker import V1Worker

from headrace_api import wire
from headrace_queue.database.engine import make_engine
from headrace_queue.ledger.entry import Entry
from headrace_queue.ledger.receipts import Receipt, Receipts

USAGE = wire.Usage(prompt_tokens=12, cached_tokens=4, completion_tokens=7, total_tokens=19)


def only(url: str) -> Entry:
    (row,) = stored(url).values()
    return row


async def written(queue: Queue, rows: int = 1) -> None:
    def count() -> float:
        return sum(
            sample.value
            for family in queue.registry.collect()
            for sample in family.samples
            if sample.name == "headrace_queue_ledger_rows_total"
        )

    await eventually(lambda: count() >= rows)


# ---- how a request can end


async def test_a_completed_request(start: Start, database_url: str) -> None:
    queue = await start(database_url=database_url)
    async with V1Worker(queue.worker_url, "m", credit=1, name="pod-1") as worker:
        task = queue.ask()
        job = await worker.expect(wire.Job)
        await asyncio.sleep(0.05)
        await worker.pieces((job.job, json.dumps(PLAIN).encode()))
        await worker.result(job, usage=USAGE, gpu_seconds=0.75, receipt=job.receipt)
        await task
    row = only(database_url)
    assert row.request_id == job.request_id
    assert (row.model, row.worker, row.outcome, row.doubt) == ("m", "pod-1", "completed", "")
    assert row[5:9] == (12, 4, 7, 0.75)
    assert row.started_at is not None
    assert row.first_token_at is not None
    assert row.received_at <= row.started_at <= row.first_token_at - 0.04 <= row.ended_at


async def test_the_client_leaves_and_the_worker_says_what_it_did(start: Start, database_url: str) -> None:
    queue = await start(database_url=database_url)
    async with V1Worker(queue.worker_url, "m", credit=1) as worker:
        task = queue.ask(stream=True)
        job = await worker.expect(wire.Job)
        await worker.pieces((job.job, chunk("x")))
        await (await task).response.aclose()
        await worker.expect(wire.Cancel)
        await asyncio.sleep(0.1)
        assert stored(database_url) == {}, "the row waits for the worker's word"
        await worker.result(job, status=499, usage=USAGE)
    row = only(database_url)
    assert (row.outcome, row.completion_tokens, row.doubt) == ("cancelled", 7, "estimated")


async def test_the_client_leaves_and_then_the_worker_is_lost(queue: Queue, database: str) -> None:
    async with V1Worker(queue.worker_url, "m", credit=1, name="pod-1") as worker:
        task = queue.ask()
        await worker.expect(wire.Job)
        task.cancel()
        await worker.expect(wire.Cancel)
        worker.die()
    await written(queue)
    row = only(database)
    assert (row.outcome, row.worker, row.doubt) == ("cancelled", "pod-1", "uncounted")


async def test_an_answer_that_breaks_off(queue: Queue, database: str) -> None:
    async with V1Worker(queue.worker_url, "m", credit=1) as worker:
        task = queue.ask(stream=True)
        job = await worker.expect(wire.Job)
        await worker.pieces((job.job, chunk("x")))
        stream = await task
        worker.die()
    with pytest.raises(openai.APIError):
        [part async for part in stream]
    await written(queue)
    assert (only(database).outcome, only(database).doubt) == ("partial", "estimated")
    async with V1Worker(queue.worker_url, "m") as worker:
        await worker.result(job, status=502, usage=USAGE, receipt=job.receipt)
    row = only(database)
    assert (row.outcome, row.completion_tokens, row.doubt) == ("partial", 7, "estimated")


@pytest.mark.parametrize(("ln_url", "name"), [("http://box-1", "http://box-1"), ("", "127.0.0.1")])
async def test_a_seed_worker_has_a_name_and_what_it_does_not_count_is_uncounted(
    queue: Queue, database: str, ln_url: str, name: str
) -> None:
    async with websockets.connect(queue.worker_url) as socket:
        await socket.send(json.dumps(seed_worker.REGISTRATION | {"ln_url": ln_url}))
        task = queue.ask()
        await socket.recv()
        await socket.send(json.dumps({"choices": [{"message": {"role": "assistant", "content": "x"}}]}))
        await task
    await written(queue)
    row = only(database)
    assert (row.worker, row.outcome, row.doubt) == (name, "completed", "uncounted")


async def test_what_no_worker_took(start: Start, database_url: str) -> None:
    queue = await start(database_url=database_url, models=("m",), hold_seconds=0.2, max_waiting=1)
    waits = queue.ask()
    await eventually(lambda: queue.server.dispatcher.schedule.waiting == 1)
    with pytest.raises(openai.RateLimitError):
        await queue.ask()
    with pytest.raises(openai.InternalServerError):
        await waits
    await written(queue, 2)
    rows = stored(database_url).values()
    assert {(row.outcome, row.worker, row.started_at, row.doubt) for row in rows} == {
        ("refused", "", None, ""),
        ("unserved", "", None, ""),
    }


async def test_what_the_engine_refuses_costs_nothing_and_is_certain(queue: Queue, database: str) -> None:
    async with V1Worker(queue.worker_url, "m", credit=1) as worker:
        task = queue.ask()
        await worker.result(await worker.expect(wire.Job), status=400, body={"error": {"message": "no"}})
        with pytest.raises(openai.BadRequestError):
            await task
    row = only(database)
    assert (row.outcome, row.completion_tokens, row.doubt) == ("refused", 0, "")


async def test_a_worker_that_lies_is_held_to_what_can_be(queue: Queue, database: str) -> None:
    lies = [
        {"usage": wire.Usage(completion_tokens=2**30), "gpu_seconds": 1e300},
        {"usage": wire.Usage(prompt_tokens=2**30, cached_tokens=2**30 + 1), "gpu_seconds": 0.0},
    ]
    for lie in lies:  # each is cut off, once its result is acknowledged
        async with V1Worker(queue.worker_url, "m", credit=1) as worker:
            task = queue.ask(stream=True)
            job = await worker.expect(wire.Job)
            await worker.pieces((job.job, chunk("x")), (job.job, DONE))
            await worker.result(job, **lie)
            await task
    first, second = sorted(stored(database).values(), key=lambda row: row.received_at)
    assert first.prompt_tokens < 300_000
    assert first.completion_tokens == len(chunk("x") + DONE)
    assert first.gpu_seconds < 10_000
    assert second.cached_tokens == second.prompt_tokens < 300_000
    assert second.gpu_seconds == 0.0
    assert {first.doubt, second.doubt} == {"corrected"}
    assert queue.metric("headrace_queue_ledger_doubtful_rows_total", doubt="corrected") == 2


# ---- other replicas


async def test_a_result_for_a_request_that_is_alive_here_waits_for_its_row(queue: Queue, database: str) -> None:
    async with V1Worker(queue.worker_url, "m", credit=1, name="first") as first:
        task = queue.ask()
        old = await first.expect(wire.Job)
        first.die()
    async with V1Worker(queue.worker_url, "m", credit=1, name="second") as second:
        new = await second.expect(wire.Job)
        await second.send(wire.Result(job=old.job, request_id=old.request_id, status=502, receipt=old.receipt))
        await second.pieces((new.job, json.dumps(PLAIN).encode()))
        await second.result(new, usage=USAGE)
        assert (await second.expect(wire.Ack)).request_id == new.request_id
        await task
    row = only(database)
    assert (row.worker, row.outcome, row.completion_tokens, row.doubt) == ("second", "completed", 7, "")


async def test_another_replica_writes_what_a_dead_one_cannot(start: Start, database_url: str) -> None:
    asked, other = [await start(database_url=database_url) for _ in range(2)]
    async with V1Worker(asked.worker_url, "m", credit=1) as worker:
        task = asked.ask(stream=True, user="x")
        job = await worker.expect(wire.Job)
        await worker.pieces((job.job, chunk("x")))
        async with V1Worker(other.worker_url, "m", name="elsewhere") as there:
            await there.result(job, usage=USAGE, gpu_seconds=0.5, receipt=job.receipt)
            row = only(database_url)
            assert (row.model, row.worker, row.outcome, row.completion_tokens) == ("m", "elsewhere", "completed", 7)
            assert row.doubt == "receipt"
            assert other.metric("headrace_queue_tokens_total", model="m", kind="completion") == 7
            stolen = wire.Job(job=1, request_id="not its own", openai_url="", openai_req={}, receipt=job.receipt)
            await there.result(stolen, usage=USAGE, receipt=job.receipt)
        await worker.result(job, usage=USAGE)
        await task
    rows = stored(database_url)
    assert (rows[job.request_id].worker, rows[job.request_id].doubt) == ("fake", "")
    assert rows["not its own"].doubt == "receipt unsigned"
    assert rows["not its own"].key == ""


async def test_replicas_can_be_given_their_secret(start: Start, database_url: str) -> None:
    queue = await start(database_url=database_url, receipt_secret="a")
    receipt = Receipt("k", "m", "", 1.0, 5)
    assert queue.server._books.receipts is not None
    assert queue.server._books.receipts.make("r", receipt) == Receipts("a").make("r", receipt)


# ---- the database is away


async def test_a_queue_without_requests_says_that_its_ledger_can_be_written(start: Start, database_url: str) -> None:
    queue = await start(database_url=database_url)
    async with queue.http.get(f"{queue.admin_url}/metrics") as response:
        lines = (await response.text()).splitlines()
    assert "headrace_queue_ledger_up 1.0" in lines


@pytest.mark.slow
async def test_requests_go_on_while_the_database_is_away(start: Start, postgres_server: Postgres) -> None:
    url = postgres_server.emptied()
    queue = await start(database_url=url)
    async with V1Worker(queue.worker_url, "m", credit=9) as worker:
        postgres_server.stop()
        try:
            jobs = []
            for _ in range(3):
                task = queue.ask()
                jobs.append(job := await worker.expect(wire.Job))
                await worker.send(wire.Result(job=job.job, request_id=job.request_id, body=PLAIN, usage=USAGE))
                await task
            assert await worker.silent(), "nothing is acknowledged before it is committed"
            await eventually(lambda: queue.metric("headrace_queue_ledger_up") == 0)
            assert queue.metric("headrace_queue_ledger_unwritten_rows") == 3
            assert "the ledger cannot be written; rows wait" in [line["event"] for line in queue.logged()]
        finally:
            postgres_server.start()
        acknowledged = {(await worker.expect(wire.Ack)).request_id for _ in jobs}
    assert acknowledged == stored(url).keys() == {job.request_id for job in jobs}
    assert queue.metric("headrace_queue_ledger_up") == 1


async def test_a_ledger_that_is_full_takes_no_more_requests(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = await start(models=("m",))
    monkeypatch.setattr("headrace_queue.ledger.ledger.MOST_UNWRITTEN", 0)
    with pytest.raises(openai.InternalServerError, match="cannot write down") as caught:
        await queue.ask()
    assert caught.value.response.headers["retry-after"]


# ---- kill -9


@contextlib.asynccontextmanager
async def process(url: str) -> AsyncIterator[tuple[Process, int]]:
    command = ["-m", "headrace_queue", "--host", "127.0.0.1", "--port", "0", "--admin-port", "0", "--model", "m"]
    environment = os.environ | {"HEADRACE_QUEUE_DATABASE_URL": url}
    child = await asyncio.create_subprocess_exec(sys.executable, *command, env=environment, stdout=PIPE)
    assert child.stdout
    try:
        line = json.loads(await asyncio.wait_for(child.stdout.readline(), 20))
        reading = asyncio.create_task(child.stdout.read())
        yield child, line["port"]
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()
        await reading


async def busy(worker: V1Worker, owed: dict[str, wire.Result], acknowledged: set[str]) -> None:
    """Answer all jobs until the connection ends."""
    with contextlib.suppress(Exception):
        async for frame in worker.socket:
            for message in wire.read_queue_messages(frame):
                if isinstance(message, wire.Job):
                    owed[message.request_id] = result = _answer(message)
                    await worker.send(result)
                    await worker.send(wire.Credit(n=1))
                elif isinstance(message, wire.Ack):
                    acknowledged.add(message.request_id)
                    owed.pop(message.request_id)


def _answer(job: wire.Job) -> wire.Result:
    return wire.Result(job=job.job, request_id=job.request_id, usage=USAGE, receipt=job.receipt, body=PLAIN)


async def acknowledged_more(acknowledged: set[str], owed: dict[str, wire.Result]) -> None:
    enough = len(acknowledged) + 30
    await eventually(lambda: len(acknowledged) > enough and len(owed) > 0, 20)


async def load(port: int) -> None:
    """Clients that ask until the queue dies."""
    url = f"http://127.0.0.1:{port}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:

        async def ask() -> None:
            with contextlib.suppress(openai.OpenAIError):
                while True:
                    await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}])

        await asyncio.gather(*(ask() for _ in range(8)))


@pytest.mark.slow
async def test_kill_9_in_the_middle_of_commits_loses_no_row_and_doubles_none(database_url: str) -> None:
    owed: dict[str, wire.Result] = {}
    acknowledged: set[str] = set()
    for _ in range(2):
        async with process(database_url) as (child, port):
            worker = await V1Worker(f"ws://127.0.0.1:{port}/worker", "m", credit=8).__aenter__()
            for result in list(owed.values()):
                await worker.send(result)
            answering = asyncio.create_task(busy(worker, owed, acknowledged))
            asking = asyncio.create_task(load(port))
            await acknowledged_more(acknowledged, owed)
            child.send_signal(signal.SIGKILL)
            await asyncio.gather(answering, asking)
            assert acknowledged <= stored(database_url).keys()
    async with process(database_url) as (_, port), V1Worker(f"ws://127.0.0.1:{port}/worker", "m") as worker:
        for result in list(owed.values()):
            await worker.send(result)
        while owed:
            owed.pop((await worker.expect(wire.Ack)).request_id)
    rows = stored(database_url)
    assert {(row.outcome, row.completion_tokens, row.model) for row in rows.values() if row.worker} == {
        ("completed", 7, "m")
    }
    assert acknowledged <= rows.keys()


@pytest.fixture
def database(queue: Queue) -> str:
    engine = queue.server._database
    assert engine is not None
    assert make_engine(engine.url.render_as_string()).url == engine.url
    return engine.url.render_as_string()


async def test_a_client_that_leaves_with_the_last_event_has_its_answer(queue: Queue, database: str) -> None:
    async with V1Worker(queue.worker_url, "m", credit=1) as worker:
        task = queue.ask(stream=True)
        job = await worker.expect(wire.Job)
        await worker.pieces((job.job, chunk("x")), (job.job, DONE))
        stream = await task
        assert [part async for part in stream]  # until [DONE]: there is no end of the connection yet
        await stream.response.aclose()
        await eventually(lambda: any(one.get("status") == 200 for one in queue.logged()))
        await worker.result(job, usage=USAGE)
    row = only(database)
    assert (row.outcome, row.completion_tokens, row.doubt) == ("completed", 7, "")


@pytest.mark.parametrize("trouble", ["the worker dies", "the engine was lost", "the queue stops"])
async def test_what_a_client_has_whole_cannot_fail(queue: Queue, database: str, trouble: str) -> None:
    async with V1Worker(queue.worker_url, "m", credit=1) as worker:
        task = queue.ask(stream=True)
        job = await worker.expect(wire.Job)
        await worker.pieces((job.job, chunk("x")), (job.job, DONE))
        lines = (await task).response.aiter_lines()
        while await anext(lines) != "data: [DONE]":
            pass
        match trouble:
            case "the worker dies":
                worker.die()
            case "the engine was lost":
                await worker.result(job, status=502, usage=USAGE)
            case "the queue stops":
                queue.server.dispatcher.drain(0.1, lambda: None)
                await worker.expect(wire.Drain)
                await worker.expect(wire.Cancel)
                await worker.result(job, usage=USAGE)
        assert not [line async for line in lines if line], "nothing comes after the end"
    await written(queue)
    assert only(database).outcome == "completed"
