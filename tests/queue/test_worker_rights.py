"""Workers' tokens with rights by model, at the door of a running queue."""

import hashlib
from datetime import UTC, datetime

import pytest
import seed_worker
import websockets
from queue_setup import Queue, Start, eventually
from v1_worker import V1Worker

from headrace_api import wire
from headrace_api.keys import WorkerEntry
from headrace_queue.keys import service
from headrace_queue.keys.worker_tokens import tokens_of

LLAMAS = "a-token-for-llamas-only"
OTHER = "a-token-for-everything"


def entry(name: str, secret: str, *models: str) -> WorkerEntry:
    return WorkerEntry.model_validate(
        {"name": name, "sha256": hashlib.sha256(secret.encode()).hexdigest(), "models": models or ["*"]}
    )


@pytest.fixture
async def queue(start: Start) -> Queue:
    queue = await start()
    queue.server._door._tokens.replace(tokens_of([entry("llamas", LLAMAS, "llama-*"), entry("all", OTHER)]))
    return queue


async def test_a_worker_serves_only_the_models_of_its_token(queue: Queue) -> None:
    async with V1Worker(queue.worker_url, "llama-7b", token=LLAMAS, credit=1) as worker:
        asked = queue.ask("llama-7b")
        job = await worker.expect(wire.Job)
        await worker.result(job, body={"choices": [{"message": {"content": "x"}}]})
        await asked
        await worker.send(wire.Serving(models=["llama-7b", "mistral"]))
        with pytest.raises(
            websockets.ConnectionClosedError, match=r"the token 'llamas' is not for mistral; .*llama-\*"
        ) as caught:
            await worker.socket.recv()
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == wire.CLOSE_BAD_REGISTRATION


async def test_a_registration_beyond_the_rights_is_refused(queue: Queue) -> None:
    with pytest.raises(websockets.ConnectionClosedError) as caught:
        await V1Worker(queue.worker_url, "llama-7b", "mistral", token=LLAMAS).__aenter__()
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == wire.CLOSE_BAD_REGISTRATION
    assert "is not for mistral" in caught.value.rcvd.reason


async def test_a_token_for_some_models_is_for_workers_that_name_theirs(queue: Queue) -> None:
    entries = [entry("llamas", LLAMAS, "llama-*").model_copy(update={"generalist": False})]
    queue.server._door._tokens.replace(tokens_of(entries))
    with pytest.raises(websockets.ConnectionClosedError, match="for workers that name their models"):
        await seed_worker.work(queue.worker_url, LLAMAS)


async def test_a_worker_leaves_when_its_token_expires(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_ALONE_SECONDS", 0.1)
    queue, now = await start(), 0.0
    tokens = queue.server.keys.worker_tokens
    tokens._clock = lambda: now
    tokens.replace(tokens_of([entry("all", OTHER).model_copy(update={"expires": datetime(1971, 1, 1, tzinfo=UTC)})]))
    async with V1Worker(queue.worker_url, "m", token=OTHER) as worker:
        now = 365 * 86400.0
        with pytest.raises(websockets.ConnectionClosedError, match="not accepted any more"):
            await worker.expect(wire.Job)


async def test_a_worker_leaves_when_its_token_goes_and_comes_again_when_its_rights_change(queue: Queue) -> None:
    tokens = queue.server._door._tokens
    async with (
        V1Worker(queue.worker_url, "llama-7b", token=LLAMAS) as llama,
        V1Worker(queue.worker_url, "m", token=OTHER) as other,
    ):
        tokens.replace(tokens_of([entry("llamas", LLAMAS, "llama-*", "mistral")]))
        with pytest.raises(websockets.ConnectionClosedError, match="rights of the worker token have changed"):
            await llama.socket.recv()
        with pytest.raises(websockets.ConnectionClosedError) as caught:
            await other.socket.recv()
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == wire.CLOSE_BAD_TOKEN
    async with V1Worker(queue.worker_url, "mistral", token=LLAMAS):
        await eventually(lambda: any(line.get("token") == "llamas" for line in queue.logged()))
    assert LLAMAS not in queue.log.getvalue()
