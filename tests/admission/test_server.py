"""The webhook over HTTP: every answer is a proper one."""

import asyncio
import io
import json

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry

from headrace_operator.admission import review, server
from headrace_operator.admission.metrics import AdmissionMetrics


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
async def client(registry):
    async with TestClient(TestServer(server.application(AdmissionMetrics(registry)))) as opened:
        yield opened


def counted(registry, webhook, outcome):
    labels = {"webhook": webhook, "outcome": outcome}
    return registry.get_sample_value("headrace_operator_admission_reviews_total", labels) or 0


async def test_a_review_is_answered_and_counted(client, registry, ask, model):
    answer = await client.post("/validate", json=ask(model))
    assert answer.status == 200
    assert (await answer.json())["response"]["allowed"] is True
    model["spec"]["scaling"]["numGpusPerWorker"] = 2
    answer = await client.post("/validate", json=ask(model))
    assert answer.status == 200  # the review went well; what it says is no
    assert (await answer.json())["response"]["allowed"] is False
    assert (counted(registry, "validate", "allowed"), counted(registry, "validate", "refused")) == (1, 1)
    assert registry.get_sample_value("headrace_operator_admission_seconds_count", {"webhook": "validate"}) == 2


@pytest.mark.parametrize(
    ("body", "kind", "told"),
    [
        (b"{", "application/json", (400, "not an AdmissionReview of admission.k8s.io/v1: body: Invalid JSON")),
        (b"{}", "application/json; charset=utf-8", (400, "request: Field required")),
        (b"{}", "text/plain", (415, "Content-Type text/plain is not accepted; it has to be application/json")),
        (b" " * (server.MAX_BYTES + 1), "application/json", (413, "Maximum request body size")),
    ],
)
async def test_what_cannot_be_read_gets_a_status_and_a_reason(client, registry, body, kind, told):
    status, words = told
    answer = await client.post("/mutate", data=io.BytesIO(body), headers={"Content-Type": kind})
    assert answer.status == status
    assert words in await answer.text()
    assert counted(registry, "mutate", "unreadable") == 1


async def test_other_paths_and_methods(client):
    assert (await client.post("/", json={})).status == 404
    assert (await client.get("/validate")).status == 405


async def test_a_large_model_is_read(client, ask, model):
    model["metadata"]["annotations"] = {"large": "x" * 3 * 1024**2}
    body = io.BytesIO(json.dumps(ask(model, model)).encode())
    answer = await client.post("/validate", data=body, headers={"Content-Type": "application/json"})
    assert (await answer.json())["response"]["allowed"] is True


async def test_a_body_that_does_not_arrive(client, monkeypatch):
    monkeypatch.setattr(server, "_BODY_SECONDS", 0.05)

    async def slow():
        yield b"{"
        await asyncio.sleep(1)
        yield b"}"

    try:
        answer = await client.post("/validate", data=slow(), headers={"Content-Type": "application/json"})
        assert answer.status == 408
    except aiohttp.ClientConnectionError:
        pass  # the server has answered and closed before everything was sent


async def test_a_failure_of_the_webhook_itself_shows_no_stack(client, registry, ask, model, monkeypatch):
    def fail(*_):
        raise RuntimeError("a secret place")

    monkeypatch.setattr(review, "check_model", fail)
    answer = await client.post("/validate", data=json.dumps(ask(model)), headers={"Content-Type": "application/json"})
    assert answer.status == 500
    assert await answer.text() == "the webhook failed; the operator's log says why\n"
    assert counted(registry, "validate", "error") == 1
