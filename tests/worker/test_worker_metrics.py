"""The worker's page of metrics: its own counts from real jobs, and the engine's behind them."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import aiohttp
import prometheus_client
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from headrace_api.wire import Job, Result
from headrace_worker import probes, tallies
from headrace_worker.engine_metrics import Source
from headrace_worker.engine_process import free_port
from headrace_worker.life import State
from headrace_worker.metrics import Metrics
from headrace_worker.status import Progress, Status
from tests.waiting import until
from tests.worker.conftest import Pulling
from tests.worker.scripted_engine import ScriptedEngine
from tests.worker.scripted_queue import ScriptedQueue

Start = Callable[..., AbstractAsyncContextManager[Pulling]]
VLLM = (Path(__file__).parent / "engine_metrics" / "vllm.txt").read_text()


def value(status: Status, name: str, /, **labels: str) -> float | None:
    status.metrics.bring_up_to_date()
    return status.metrics.registry.get_sample_value(f"headrace_worker_{name}", labels)


async def test_a_streams_times_are_counted_once(queue: ScriptedQueue, pulling: Start, engine: ScriptedEngine) -> None:
    async with pulling(queue.url) as worker:
        connection = await queue.connection()
        await connection.greet()
        status = worker.status
        assert value(status, "credits") == 4
        request = {"messages": [{"role": "user", "content": "held"}], "stream": True}
        await connection.send(
            Job(job=1, request_id="r", openai_url="/v1/chat/completions", openai_req=request, waited_s=3)
        )
        await connection.first_piece()
        assert (value(status, "credits"), value(status, "requests_in_flight")) == (3, 1)
        await asyncio.sleep(0.1)
        engine.go_on.set()
        await connection.expect(Result)
        await until(lambda: value(status, "credits") == 4)
        assert value(status, "queue_wait_seconds_sum") == 3
        assert value(status, "time_to_first_token_seconds_count") == 1
        assert (value(status, "time_to_first_token_seconds_sum") or 0) > 0
        assert value(status, "inter_token_seconds_count") == 1
        assert (value(status, "inter_token_seconds_sum") or 0) > 0.1, "two tokens, so one gap"
        assert value(status, "tokens_total", kind="prompt") == 3
        assert value(status, "tokens_total", kind="completion") == 2
        await connection.socket.close()
        await until(lambda: value(status, "credits") == 0)


async def test_an_answer_that_is_not_streamed_has_no_time_to_its_first_token(
    queue: ScriptedQueue, pulling: Start
) -> None:
    async with pulling(queue.url) as worker:
        connection = await queue.connection()
        await connection.greet()
        await connection.ask(1, "quick")
        await connection.expect(Result)
        await until(lambda: value(worker.status, "requests_total", status="200") == 1)
        assert value(worker.status, "time_to_first_token_seconds_count") == 0
        assert value(worker.status, "request_seconds_count") == 1


async def test_state_and_download() -> None:
    status = Status(Metrics())
    status.set_progress(Progress("a.safetensors", 3, 14))
    assert (value(status, "fetch_bytes"), value(status, "fetch_total_bytes")) == (3, 14)
    await asyncio.sleep(0.05)
    assert (value(status, "state_seconds", state="fetching") or 0) >= 0.05
    status.set_state(State.LOADING)
    fetching = value(status, "state_seconds", state="fetching")
    await asyncio.sleep(0.05)
    assert value(status, "state_seconds", state="fetching") == fetching, "it is over"
    states = {one.value: value(status, "state", state=one.value) for one in State}
    assert states == {one.value: float(one is State.LOADING) for one in State}


async def page(status: Status) -> str:
    port = free_port()
    async with (
        probes.serving(status, port, []),
        aiohttp.ClientSession() as http,
        http.get(f"http://127.0.0.1:{port}/metrics") as response,
    ):
        assert response.status == 200
        return await response.text()


async def test_the_engines_metrics_are_behind_the_workers() -> None:
    pages = ["headrace_worker_slots 99\n" + VLLM, "nonsense"]

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(text=pages[0])

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    status = Status(Metrics())
    assert "headrace_worker_engine_metrics_up 0.0" in await page(status), "there is no engine yet"
    status.engine_metrics = Source(f"http://127.0.0.1:{runner.addresses[0][1]}/metrics", "m", "VLLMEngine")
    text = await page(status)
    assert "headrace_worker_engine_metrics_up 1.0" in text
    families = [family.name for family in text_string_to_metric_families(text)]
    assert len(families) == len(set(families))
    assert "headrace_worker_slots 0.0" in text
    assert "headrace_worker_slots 99" not in text
    assert (
        'vllm:num_requests_running{engine="0",model_name="pub",headrace_model="m",headrace_engine="VLLMEngine"}' in text
    )
    del pages[0]
    text = await page(status)
    assert "headrace_worker_engine_metrics_up 0.0" in text
    assert "nonsense" not in text
    await runner.cleanup()
    assert "headrace_worker_engine_metrics_up 0.0" in await page(status), "the engine has died"


@given(st.lists(st.one_of(st.sampled_from([0.05, 1, 5]), st.floats(0, 9)), max_size=30))
def test_a_tallied_histogram_is_what_prometheus_own_would_be(values: list[float]) -> None:
    registry, bounds = prometheus_client.CollectorRegistry(), (0.05, 1, 5)
    theirs = prometheus_client.Histogram("h", "text", buckets=bounds, registry=registry)
    ours = tallies.Histogram("h", "text", buckets=bounds)
    for one in values:
        theirs.observe(one)
        ours.observe(one)
    expected = [sample for family in registry.collect() for sample in family.samples if sample.name != "h_created"]
    assert [sample for family in ours.collect() for sample in family.samples] == expected
