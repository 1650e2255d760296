"""Passing an engine's metrics on: pages of real engines, and what an engine may answer instead."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from headrace_worker import engine_metrics
from headrace_worker.engine_metrics import NotMetricsError, Source, fetch, passed_on

PAGES = Path(__file__).parent / "engine_metrics"
VLLM = (PAGES / "vllm.txt").read_text()
LLAMACPP = (PAGES / "llamacpp.txt").read_text()
OURS = {"headrace_model": "org/m", "headrace_engine": "VLLMEngine"}


def samples(page: str) -> Iterator[tuple[str, dict[str, str], float]]:
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            yield sample.name, sample.labels, sample.value


@pytest.mark.parametrize("page", [VLLM, LLAMACPP], ids=["vllm", "llamacpp"])
def test_every_sample_of_a_real_engine_is_passed_on_with_two_more_labels(page: str) -> None:
    before, after = list(samples(page)), list(samples(passed_on(page, "org/m", "VLLMEngine")))
    assert len(before) > 10
    assert after == [(name, labels | OURS, value) for name, labels, value in before]


def test_the_names_and_types_stay() -> None:
    def families(page: str) -> list[tuple[str, str, str]]:
        return [(one.name, one.type, one.documentation) for one in text_string_to_metric_families(page)]

    assert families(passed_on(VLLM, "m", "e")) == families(VLLM)
    assert 'vllm:num_requests_running{engine="0",model_name="pub",headrace_model="m",headrace_engine="e"} 0.0\n' in (
        passed_on(VLLM, "m", "e")
    )


TEXT = st.text(st.characters(exclude_categories=("Cs",)))


@given(
    st.dictionaries(st.from_regex(r"[a-z][a-z0-9_]{0,5}", fullmatch=True), TEXT, max_size=3), st.floats(), TEXT, TEXT
)
def test_whatever_a_library_writes_is_passed_on(labels: dict[str, str], value: float, model: str, engine: str) -> None:
    registry = CollectorRegistry()
    gauge = Gauge("x", "Some help: \\ \n", list(labels), registry=registry)
    (gauge.labels(**labels) if labels else gauge).set(value)
    page = generate_latest(registry).decode()
    ((name, now, told),) = samples(passed_on(page, model, engine))
    assert name == "x"
    assert now == labels | {"headrace_model": model, "headrace_engine": engine}
    assert told == value or value != value  # noqa: PLR0124 (not a number)


def test_what_is_named_as_ours_is_left_out() -> None:
    page = "# TYPE headrace_worker_slots gauge\nheadrace_worker_slots 3\n# TYPE a gauge\na 1\n# EOF\n"
    assert passed_on(page, "m", "e") == '# TYPE a gauge\na{headrace_model="m",headrace_engine="e"} 1\n'


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a{} 1", 'a{headrace_model="m",headrace_engine="e"} 1'),
        ('a{b="c",} 1 1700000000', 'a{b="c",headrace_model="m",headrace_engine="e"} 1 1700000000'),
        ('a { b="}\\"" } +Inf', 'a{b="}\\"",headrace_model="m",headrace_engine="e"} +Inf'),
        ("a NaN", 'a{headrace_model="m",headrace_engine="e"} NaN'),
        ("a 1e+06", 'a{headrace_model="m",headrace_engine="e"} 1e+06'),
    ],
)
def test_forms_that_the_format_allows(line: str, expected: str) -> None:
    assert passed_on(line, "m", "e") == expected + "\n"


@pytest.mark.parametrize("line", ["<html>", "a{b} 1", 'a{b="c} 1', "a", "a one", '{"error": 1}', "a 1 2 3", "0a 1"])
def test_what_is_no_sample_is_refused_with_its_line(line: str) -> None:
    with pytest.raises(NotMetricsError, match="line 2"):
        passed_on(f"a 1\n{line}\n", "m", "e")


@pytest.fixture
def answers() -> dict[str, web.StreamResponse | None]:
    return {
        "/good": web.Response(text=LLAMACPP),
        "/empty": web.Response(text=""),
        "/html": web.Response(text="<html>"),
        "/absent": web.Response(status=404),
        "/binary": web.Response(body=b"\xff\xfe"),
        "/huge": web.Response(text="a 1\n" * (3 << 20)),
        "/hangs": None,
    }


@pytest.mark.slow
async def test_an_engine_that_gives_no_metrics_breaks_nothing(
    answers: dict[str, web.StreamResponse | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if (found := answers[request.path]) is None:
            await asyncio.sleep(60)
        return found or web.Response()

    monkeypatch.setattr(engine_metrics, "_TIMEOUT_S", 0.3)
    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with aiohttp.ClientSession() as session:
        found = {path: await fetch(session, Source(base + path, "m", "e")) for path in answers}
        nobody = await fetch(session, Source("http://127.0.0.1:9/metrics", "m", "e"))
    await runner.cleanup()
    assert found.pop("/good") == passed_on(LLAMACPP, "m", "e")
    assert found.pop("/empty") == ""
    assert set(found.values()) == {None}
    assert nobody is None
