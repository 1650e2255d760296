"""Health and readiness over HTTP, with an event loop that is really blocked."""

import asyncio
import json
import threading
import time
import urllib.error
import urllib.request

import pytest
from prometheus_client import CollectorRegistry, Gauge
from tests.waiting import until

from headrace_operator.health import Health, Limits, serve
from headrace_operator.metrics.work import WorkMetrics
from headrace_operator.work_queue import WorkQueue


def get(port, path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=15) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def health(running=dict, hands=2, waited_for=None, **limits):
    return Health(running, hands, waited_for or {}, Limits(**limits))


def block_until(released):
    """Hold the event loop up, as a computation that never ends would."""
    released.wait(30)


@pytest.mark.slow
async def test_a_blocked_event_loop_is_told_with_the_place():
    asked, released = [], threading.Event()

    async with serve(0, health(stuck=0.3), CollectorRegistry()) as port:

        def ask():
            asked.append(get(port, "/healthz"))
            while asked[-1][0] == 200:
                time.sleep(0.05)
                asked.append(get(port, "/healthz"))
            released.set()

        assert (await asyncio.to_thread(get, port, "/healthz"))[0] == 200
        thread = threading.Thread(target=ask)
        thread.start()
        block_until(released)  # in the event loop's own thread
        thread.join()
        status, body = asked[-1]
        assert status == 503
        (reason,) = json.loads(body)["reasons"]
        assert "the event loop has been stuck for" in reason
        assert "block_until (test_health.py:" in reason
        await until(lambda: get(port, "/healthz")[0] == 200)


@pytest.mark.slow
async def test_metrics_do_not_hang_with_the_event_loop(monkeypatch):
    monkeypatch.setattr("headrace_operator.health._METRICS_SECONDS", 0.2)
    answers, released = [], threading.Event()
    registry = CollectorRegistry()
    Gauge("something", "Something.", registry=registry).set(3)

    async with serve(0, health(), registry) as port:

        def ask():
            answers.append(get(port, "/metrics"))
            released.set()

        thread = threading.Thread(target=ask)
        thread.start()
        block_until(released)
        thread.join()
        assert answers[0][0] == 503
        assert "/healthz says" in answers[0][1]
        status, text = await asyncio.to_thread(get, port, "/metrics")
        assert (status, "something 3.0" in text) == (200, True)


async def test_a_hanging_reconcile_is_told_by_name_and_only_while_it_hangs():
    registry, release = CollectorRegistry(), asyncio.Event()
    metrics = WorkMetrics(registry, lambda _: 7)

    async def work(_):
        await release.wait()

    queue = WorkQueue(work, hands=2, observer=metrics)
    task = asyncio.create_task(queue.run())
    queue.add(("models", "a"))
    state = health(metrics.running, hanging=0.05, blocked=60)
    await until(state.sick)
    assert state.sick()[0].startswith("the reconcile of models/a has run for")
    assert registry.get_sample_value("headrace_operator_work_queue_busy") == 1
    assert registry.get_sample_value("headrace_operator_work_queue_longest_running_seconds") > 0.05
    release.set()
    await until(lambda: not state.sick())
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_all_hands_blocked_is_sick_and_one_free_hand_is_not():
    ages = {("m", "a"): 400.0, ("m", "b"): 301.0}
    state = health(lambda: ages)
    assert state.sick() == ["all 2 reconciles at a time have run for over 300 s"]
    ages["m", "b"] = 299.0
    assert state.sick() == []
    del ages["m", "b"]
    assert state.sick() == []


async def test_a_failing_api_server_is_not_sick():
    """Each try fails by itself and is put off, so that nothing hangs."""
    metrics = WorkMetrics(CollectorRegistry(), lambda _: None)

    async def work(_):
        raise ConnectionError("away")

    queue = WorkQueue(work, hands=2, observer=metrics)
    task = asyncio.create_task(queue.run())
    for name in "abcdefgh":
        queue.add(("m", name))
    await until(lambda: len(queue) == 0 and not metrics.running())
    assert health(metrics.running, hanging=0, blocked=0).sick() == []
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_watch_that_does_not_tell_of_what_is_listed_is_sick():
    state = Health(dict, 2, {}, deaf=lambda: 301)
    assert state.sick() == ["the API server has listed an object for 301 s that no watch tells of"]


@pytest.mark.slow
async def test_readiness_tells_what_it_waits_for():
    there = {"the watches": False, "the certificate": True}
    waited_for = {name: lambda name=name: there[name] for name in there}
    async with serve(0, health(waited_for=waited_for), CollectorRegistry()) as port:
        status, body = await asyncio.to_thread(get, port, "/readyz")
        assert (status, json.loads(body)) == (503, {"status": "waiting", "reasons": ["the watches"]})
        there["the watches"] = True
        assert await asyncio.to_thread(get, port, "/readyz") == (200, '{"status": "ready"}\n')
