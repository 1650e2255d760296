"""Workers that send garbage, flood or lie are cut off, and nobody else notices."""

import asyncio
import json
import logging
import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psutil
import pytest
import seed_worker
import websockets
from queue_setup import Queue, eventually
from v1_worker import MACHINE, V1Worker

from headrace_api import wire
from headrace_api.pieces import MOST_PIECES, encode_pieces
from headrace_queue.conduct import Budget, Conduct, ConductError, Given
from headrace_queue.schedule import Schedule

ANSWER = {"choices": [{"message": {"role": "assistant", "content": "fine"}}]}
FUZZ_SECONDS = float(os.environ.get("HEADRACE_FUZZ_SECONDS", "3"))


@asynccontextmanager
async def honest(queue: Queue) -> AsyncIterator[None]:
    """A worker beside the one that misbehaves; clients of its model must not notice anything."""

    async def serve(worker: V1Worker) -> None:
        async for frame in worker.socket:
            for message in wire.read_queue_messages(frame):
                if isinstance(message, wire.Job):
                    ended = wire.Result(job=message.job, request_id=message.request_id, body=ANSWER)
                    await worker.send(ended)
                    await worker.send(wire.Credit(n=1))

    async with V1Worker(queue.worker_url, "honest", credit=4, name="honest") as worker:
        serving = asyncio.create_task(serve(worker))
        try:
            yield
            for _ in range(5):
                assert (await queue.ask("honest")).choices[0].message.content == "fine"
            assert not serving.done()
        finally:
            serving.cancel()


async def cut_off(worker: V1Worker, code: int, words: str) -> None:
    async with asyncio.timeout(10):
        with pytest.raises(websockets.ConnectionClosedError) as caught:  # noqa: PT012 (until it comes)
            while True:
                await worker.socket.recv()
    assert caught.value.rcvd is not None
    assert (caught.value.rcvd.code, words in caught.value.rcvd.reason) == (code, True), caught.value.rcvd


@pytest.mark.parametrize(
    "lie",
    [
        {"usage": wire.Usage(prompt_tokens=10**9)},
        {"usage": wire.Usage(completion_tokens=10**9)},
        {"usage": wire.Usage(prompt_tokens=1, cached_tokens=2)},
        {"gpu_seconds": 3600.0},
    ],
)
async def test_who_lies_about_usage_is_cut_off_and_the_answer_stands(queue: Queue, lie: dict[str, Any]) -> None:
    async with honest(queue), V1Worker(queue.worker_url, "m", credit=1) as worker:
        asked = queue.ask("m")
        job = await worker.expect(wire.Job)
        await worker.send(wire.Result(job=job.job, request_id=job.request_id, body=ANSWER, **lie))
        assert (await asked).choices[0].message.content == "fine"
        assert (await worker.expect(wire.Ack)).request_id == job.request_id
        await cut_off(worker, 1008, "cannot be")


@pytest.mark.parametrize(
    ("seconds", "why"),
    [
        ("-1.0", "result.gpu_seconds"),
        ("1e999", "result.gpu_seconds"),
        ('"1"', "result.gpu_seconds"),
        ("NaN", "not JSON"),
        ("Infinity", "not JSON"),
    ],
)
async def test_numbers_that_are_no_seconds_are_no_result(queue: Queue, seconds: str, why: str) -> None:
    async with honest(queue), V1Worker(queue.worker_url, "m", credit=1) as worker:
        asked = queue.ask("m")
        job = await worker.expect(wire.Job)
        ended = wire.Result(job=job.job, request_id=job.request_id, body=ANSWER, gpu_seconds=0.5)
        await worker.socket.send(wire.encoded(ended).replace("0.5", seconds))
        await cut_off(worker, 1002, why)
        async with V1Worker(queue.worker_url, "m", credit=1) as other:
            await other.result(await other.expect(wire.Job), body=ANSWER)
            assert (await asked).choices[0].message.content == "fine"


async def test_who_floods_with_bytes_nobody_asked_for_is_cut_off(queue: Queue) -> None:
    async with honest(queue), V1Worker(queue.worker_url, "m") as worker:
        with pytest.raises(websockets.ConnectionClosedError, match="jobs that this worker does not have"):  # noqa: PT012
            for _ in range(200):
                await worker.pieces((7, b"x" * 2**20))


async def test_who_reports_all_the_time_is_cut_off(queue: Queue) -> None:
    async with honest(queue), V1Worker(queue.worker_url, "m") as worker:
        report = wire.encoded(wire.Report(state="ready"))
        await worker.socket.send(f"[{','.join([report] * 5000)}]")
        await cut_off(worker, 1008, "too many reports")


async def test_who_drains_all_the_time_is_cut_off(queue: Queue) -> None:
    async with honest(queue), V1Worker(queue.worker_url, "m") as worker:
        drain = wire.encoded(wire.Drain())
        await worker.socket.send(f"[{','.join([drain] * 30_000)}]")
        await cut_off(worker, 1008, "too many messages")


async def test_a_frame_of_too_many_pieces_is_none(queue: Queue) -> None:
    async with honest(queue), V1Worker(queue.worker_url, "m") as worker:
        await worker.socket.send(bytes(8 * (MOST_PIECES + 1)))
        await cut_off(worker, 1002, f"more than {MOST_PIECES} pieces")


async def test_who_sends_crumbs_of_its_own_job_is_cut_off(queue: Queue) -> None:
    async with honest(queue), V1Worker(queue.worker_url, "m", credit=1) as worker:
        asked = queue.ask("m")
        job = await worker.expect(wire.Job)
        await worker.pieces(*[(job.job, b"")] * 30_000)
        await cut_off(worker, 1008, "too many pieces")
        asked.cancel()


@asynccontextmanager
async def seed(queue: Queue) -> AsyncIterator[websockets.ClientConnection]:
    async with websockets.connect(queue.worker_url) as socket:
        await socket.send(json.dumps(seed_worker.REGISTRATION))
        yield socket


async def test_a_seed_worker_that_says_nothing_all_the_time_is_cut_off(queue: Queue) -> None:
    async with honest(queue), seed(queue) as socket:
        with pytest.raises(websockets.ConnectionClosedError, match=r"1008.*too many messages"):  # noqa: PT012 (until then)
            for _ in range(40_000):
                await socket.send("{}")
            await socket.recv()


async def test_a_seed_worker_that_lies_about_usage_is_cut_off_and_the_answer_stands(queue: Queue) -> None:
    async with honest(queue), seed(queue) as socket:
        asked = queue.ask("m")
        await socket.recv()
        await socket.send(json.dumps(ANSWER | {"usage": {"completion_tokens": 10**9}}))
        assert (await asked).choices[0].message.content == "fine"
        with pytest.raises(websockets.ConnectionClosedError, match=r"1008.*cannot be"):
            await socket.recv()


async def test_credits_are_bounded(queue: Queue) -> None:
    async with V1Worker(queue.worker_url, "m") as worker:
        await worker.socket.send('{"type":"credit","n":1000000000}')
        await cut_off(worker, 1002, "n: ")


def test_credits_of_one_worker_are_bounded() -> None:
    schedule = Schedule()
    schedule.add(1, ["m"])
    for _ in range(3):
        schedule.grant(1, wire.MOST_CREDITS - 1)
    assert schedule.workers[1].credits == wire.MOST_CREDITS


async def test_who_stalls_harms_only_its_own_job(queue: Queue) -> None:
    async with honest(queue), V1Worker(queue.worker_url, "m", credit=1) as worker:
        asked = queue.ask("m")
        await worker.expect(wire.Job)
        worker.socket.transport.pause_reading()
        worker.die()
        async with V1Worker(queue.worker_url, "m", credit=1) as other:
            job = await other.expect(wire.Job)
            await other.result(job, body=ANSWER)
            assert (await asked).choices[0].message.content == "fine"


def test_a_budget_fills_up_again() -> None:
    budget = Budget(10, 1)
    assert budget.take(10, 0.0)
    assert not budget.take(1, 0.5)
    assert budget.take(1, 3.0)
    assert not budget.take(11, 1000.0)


def test_pieces_of_its_own_jobs_are_no_waste() -> None:
    conduct = Conduct(gpus=1)
    conduct.give(1, 100, 0.0)
    for _ in range(1000):
        conduct.piece(1, 2**20, 1.0)
    given = conduct.end(1, 2.0)
    assert given is not None
    assert given.answered_bytes == 1000 * 2**20
    with pytest.raises(ConductError):  # noqa: PT012 (at the latest then)
        for _ in range(100):
            conduct.piece(1, 2**20, 3.0)


def test_what_engines_do_is_never_doubted() -> None:
    given = Given(asked_bytes=200, since=0.0, answered_bytes=0)
    hidden = wire.Usage(prompt_tokens=100_000, cached_tokens=100_000, completion_tokens=30_000)
    assert not given.doubt(hidden, gpu_seconds=0.5, gpus=8, now=0.5)
    assert given.doubt(hidden, gpu_seconds=40.0, gpus=8, now=0.5).startswith("gpu_seconds: 40.0 of 8 GPUs")


def garbage(rng: random.Random) -> str | bytes:
    """A frame that is nearly right, or not at all."""
    job, state = rng.randrange(4), rng.choice(["ready", "loading", "draining", "odd"])
    whole: list[dict[str, Any]] = [
        {"type": "credit", "n": rng.choice([1, 2, -1, 0, 10**12, "x", None])},
        {"type": "result", "job": job, "request_id": "x" * rng.randrange(300), "status": rng.choice([200, 7, 500])},
        {"type": "handback", "job": job, "reason": "y" * rng.randrange(2000), "failed": rng.random() < 0.5},
        {"type": "report", "state": state, "done_bytes": rng.randrange(-1, 9)},
        {"type": "serving", "models": rng.choice([["m"], [], ["m", "m:x"], "m"])},
        {"type": "drain"},
        {"type": "register", "worker": "w", "models": ["m"], "fingerprint": "f", **MACHINE},
        {"type": rng.choice(["", "job", "ack", "unheard of"])},
    ]
    kind = rng.randrange(6)
    message = json.dumps(rng.choice(whole))
    if kind == 0:
        return message
    if kind == 1:
        return message[: rng.randrange(len(message))]
    if kind == 2:
        return json.dumps([rng.choice(whole) for _ in range(rng.randrange(4))])
    if kind == 3:
        return rng.randbytes(rng.randrange(64))
    if kind == 4:
        return encode_pieces([(rng.randrange(4), rng.randbytes(rng.randrange(99))) for _ in range(rng.randrange(4))])
    return "[" * rng.randrange(5000)


async def misbehave(queue: Queue, rng: random.Random) -> None:
    """One connection, until it is cut off or has said enough."""
    subprotocols = [websockets.Subprotocol(wire.SUBPROTOCOL)] if rng.random() < 0.8 else []
    async with websockets.connect(queue.worker_url, subprotocols=subprotocols, open_timeout=30) as socket:
        register = {"worker": "w", "models": ["m"], "fingerprint": "f", **MACHINE}
        await socket.send(json.dumps(register) if rng.random() < 0.9 else garbage(rng))
        for _ in range(rng.randrange(12)):
            await socket.send(garbage(rng))
            if rng.random() < 0.1:
                await asyncio.sleep(0)


def no_exceptions(queue: Queue) -> None:
    """Look through the log so far, and forget it: it would grow."""
    assert not [line for line in queue.logged() if "exception" in line or "Traceback" in str(line)]
    queue.log.seek(0)
    queue.log.truncate()


@pytest.mark.slow
@pytest.mark.timeout(600 + FUZZ_SECONDS)
async def test_garbage_harms_nobody(queue: Queue, caplog: pytest.LogCaptureFixture) -> None:
    """`HEADRACE_FUZZ_SECONDS=600` for a long run; the seed of a failing connection is in the message."""
    caplog.set_level(logging.ERROR, "aiohttp.websocket")  # pytest would keep each of its warnings
    process = psutil.Process()
    loop = asyncio.get_running_loop()
    end, seed, before = loop.time() + FUZZ_SECONDS, 0, 0
    async with honest(queue):
        while loop.time() < end:
            seed += 1
            asked = queue.ask("m", stream=seed % 2 == 0) if seed % 5 == 0 else None
            try:
                await misbehave(queue, random.Random(seed))  # noqa: S311 (no secret)
            except websockets.ConnectionClosed:
                pass
            except Exception as error:
                raise AssertionError(f"seed {seed}") from error
            if asked:
                asked.cancel()
            if seed == 500:
                before = process.memory_info().rss
            if seed % 100 == 0:
                assert (await queue.ask("honest")).choices[0].message.content == "fine", seed
                no_exceptions(queue)
        await eventually(lambda: len(queue.server._door._open) == 1, 20)
    no_exceptions(queue)
    grown = process.memory_info().rss - before
    assert not before or grown < 64 * 2**20, f"{grown / 2**20:.0f} MiB more after {seed} connections"
