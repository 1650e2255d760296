"""The webhook: every row reaches a billing system, signed, at least once, whatever fails on the way."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from ledger_setup import entry, stored
from postgres import Postgres
from queue_setup import PLAIN, Queue, Start, eventually
from sqlalchemy import Engine
from tests.serving import served
from v1_worker import V1Worker

from headrace_api import wire
from headrace_queue.database.engine import make_engine
from headrace_queue.database.migrate import upgrade
from headrace_queue.ledger import deliverer, outbox, webhook
from headrace_queue.ledger.rows import LedgerRows

SECRET = b"a secret of thirty-two bytes, ok"
OPTION = "whsec_" + base64.b64encode(SECRET).decode()


@dataclass
class Billing:
    """Somebody's billing system, which checks as the standard says."""

    url: str = ""
    status: int = 200
    ids: list[str] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    tries: int = 0

    async def take(self, request: web.Request) -> web.Response:
        self.tries += 1
        body, name = await request.read(), request.headers["webhook-id"]
        signed = f"{name}.{request.headers['webhook-timestamp']}.".encode() + body
        expected = base64.b64encode(hmac.new(SECRET, signed, hashlib.sha256).digest()).decode()
        assert request.headers["webhook-signature"] == f"v1,{expected}"
        assert abs(time.time() - int(request.headers["webhook-timestamp"])) < 60
        if self.status == 200:
            message = json.loads(body)
            assert message["type"] == "usage.recorded"
            self.ids.append(name)
            self.rows += message["data"]["rows"]
        return web.Response(status=self.status, text="an answer")


@pytest.fixture
async def billing(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Billing]:
    monkeypatch.setattr(deliverer, "_LOOK_SECONDS", 0.05)
    monkeypatch.setattr(webhook, "_FIRST_RETRY_SECONDS", 0.1)
    monkeypatch.setattr(webhook, "_LONGEST_RETRY_SECONDS", 0.2)
    system, app = Billing(), web.Application()
    app.router.add_post("/rows", system.take)
    async with served(app) as port:
        system.url = f"http://127.0.0.1:{port}/rows"
        yield system


async def answered(queue: Queue, requests: int) -> None:
    async with V1Worker(queue.worker_url, "m", credit=requests) as worker:
        for _ in range(requests):
            task = queue.ask()
            job = await worker.expect(wire.Job)
            await worker.result(job, body=PLAIN, usage=wire.Usage(prompt_tokens=3, completion_tokens=2))
            await task


async def test_every_row_is_told(start: Start, database_url: str, billing: Billing) -> None:
    settings = webhook.read_settings(billing.url, OPTION)
    queue = await start(database_url=database_url, webhook=settings)
    await answered(queue, 3)
    await eventually(lambda: len(billing.rows) == 3)
    assert {row["request_id"]: row for row in billing.rows} == {
        name: row._asdict() for name, row in stored(database_url).items()
    }
    await eventually(lambda: queue.metric("headrace_queue_webhook_undelivered_rows") == 0)


@pytest.mark.slow
async def test_what_is_refused_is_told_again_by_the_same_id(start: Start, billing: Billing) -> None:
    queue = await start(webhook=webhook.read_settings(billing.url, OPTION))
    billing.status = 503
    await answered(queue, 2)
    await eventually(lambda: billing.tries >= 3)
    assert (queue.metric("headrace_queue_webhook_undelivered_rows") or 0) > 0
    billing.status = 200
    await eventually(lambda: len(billing.rows) == 2)
    (warning,) = [line for line in queue.logged() if line["event"] == "the webhook is not accepted"]
    assert warning["error"] == "status 503: an answer"
    assert [line for line in queue.logged() if line["event"] == "the webhook is accepted again"]


async def test_what_a_dead_queue_left_is_told_by_the_next(start: Start, database_url: str, billing: Billing) -> None:
    engine = make_engine(database_url)
    upgrade(engine)
    LedgerRows(engine).write([entry("1"), entry("2")], webhook.enqueue)
    taken = outbox.claim(engine, time.time())
    assert taken is not None, "and then it died"
    outbox.put_off(engine, taken, time.time())
    engine.dispose()
    await start(database_url=database_url, webhook=webhook.read_settings(billing.url, OPTION))
    await eventually(lambda: len(billing.rows) == 2)
    assert billing.ids == [taken.id]


@pytest.mark.slow
async def test_the_database_is_away(start: Start, postgres_server: Postgres, billing: Billing) -> None:
    queue = await start(database_url=postgres_server.emptied(), webhook=webhook.read_settings(billing.url, OPTION))
    await answered(queue, 1)
    postgres_server.stop()
    await asyncio.sleep(0.2)
    postgres_server.start()
    await answered(queue, 1)
    await eventually(lambda: len({row["request_id"] for row in billing.rows}) == 2, 10)


async def test_a_fault_of_ours_is_logged_and_the_next_message_is_sent(
    start: Start, billing: Billing, monkeypatch: pytest.MonkeyPatch
) -> None:
    payload, faults = webhook.payload, [TypeError("no such row"), TypeError("no such row")]

    def faulty(created_at: float, rows: str) -> bytes:
        if faults:
            raise faults.pop()
        return payload(created_at, rows)

    monkeypatch.setattr(webhook, "payload", faulty)
    monkeypatch.setattr(outbox, "LEASE_SECONDS", 0)
    monkeypatch.setattr(deliverer, "_REST_SECONDS", 0.05)
    queue = await start(webhook=webhook.read_settings(billing.url, OPTION))
    await answered(queue, 1)
    await eventually(lambda: len(billing.rows) == 1)
    errors = [line for line in queue.logged() if line["level"] == "error"]
    assert [line["event"] for line in errors] == ["the webhook's messages cannot be sent"] * 2
    assert "TypeError: no such row" in errors[0]["exception"]


def test_messages_that_were_never_sent_go_together(engine: Engine) -> None:
    rows = LedgerRows(engine)
    for number in range(5):
        rows.write([entry(str(number))], webhook.enqueue)
    now = time.time()
    message = outbox.claim(engine, now)
    assert message is not None
    assert [row["request_id"] for row in json.loads(message.body)] == list("01234")
    assert outbox.claim(engine, now) is None, "it is being sent"
    rows.write([entry("5")], webhook.enqueue)
    outbox.put_off(engine, message, now - 1)
    again = outbox.claim(engine, time.time())
    assert again is not None
    assert (again.id, again.body, again.attempts) == (message.id, message.body, 2)
    assert outbox.backlog(engine).rows == 6
    outbox.done(engine, again)
    assert outbox.backlog(engine).rows == 1


def test_many_rows_are_several_messages(engine: Engine) -> None:
    LedgerRows(engine).write([entry(str(number)) for number in range(webhook.MOST_ROWS + 1)], webhook.enqueue)
    sizes = []
    while (message := outbox.claim(engine, time.time())) is not None:
        sizes.append(message.rows)
        outbox.done(engine, message)
    assert sorted(sizes) == [1, webhook.MOST_ROWS]


def test_a_row_that_is_there_is_not_told_again_and_one_that_changes_is(engine: Engine) -> None:
    rows = LedgerRows(engine)
    rows.write([entry("1", doubt="uncounted", outcome="partial"), entry("2")], webhook.enqueue)
    first = outbox.claim(engine, time.time())
    assert first is not None
    outbox.done(engine, first)
    rows.write([entry("1", doubt="receipt", completion_tokens=9), entry("2")], webhook.enqueue)
    second = outbox.claim(engine, time.time())
    assert second is not None
    (row,) = json.loads(second.body)
    assert (row["request_id"], row["completion_tokens"], row["outcome"], row["doubt"]) == ("1", 9, "partial", "")


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_tries_come_further_and_further_apart(attempts: int, chance: float) -> None:
    seconds = webhook.retry_after(attempts, chance)
    assert 3.75 <= seconds <= 4500
    assert webhook.retry_after(attempts + 1, chance) >= seconds


def test_the_signature_is_the_standards_own_example() -> None:
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    signed = webhook.headers(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", body, 1614265330)
    assert signed["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    ("url", "secret", "words"),
    [
        ("https://a", None, "--webhook-url and --webhook-secret"),
        (None, OPTION, "--webhook-url and --webhook-secret"),
        ("billing", OPTION, "http://HOST/PATH"),
        ("https://", OPTION, "http://HOST/PATH"),
        ("https://a", "whsec_short", "24 to 64 bytes"),
        ("https://a", "not base64 at all, and much too long to be short", "24 to 64 bytes"),
    ],
)
def test_wrong_options_are_refused_in_words(url: str | None, secret: str | None, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        webhook.read_settings(url, secret)
    assert secret is None or secret.removeprefix("whsec_") not in str(caught.value)
