"""The log's form: one JSON object a line, whoever writes it."""

import asyncio
import contextlib
import io
import json
import logging

import pytest
import structlog

from headrace_operator import app, logs


@pytest.fixture
def stream():
    root, names = logging.getLogger(), ["kopf", "kopf.objects", "kubernetes", "aiohttp", "asyncio"]
    before = (root.handlers[:], root.level, {name: logging.getLogger(name).level for name in names})
    stream = io.StringIO()
    yield stream
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    for name, level in before[2].items():
        logging.getLogger(name).setLevel(level)
    structlog.reset_defaults()


def lines(stream):
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_own_and_foreign_lines_have_one_form(stream):
    logs.configure("INFO", stream)
    with structlog.contextvars.bound_contextvars(model="models/a", generation=3):
        structlog.get_logger().info("applying", kind="Deployment")
        logging.getLogger("aiohttp.server").error("Error %s", "handling")
    own, foreign = lines(stream)
    for one in (own, foreign):
        assert (one["model"], one["generation"]) == ("models/a", 3)
        assert one["timestamp"].endswith("Z")
    assert (own["event"], own["kind"], own["level"]) == ("applying", "Deployment", "info")
    assert (foreign["event"], foreign["logger"], foreign["level"]) == ("Error handling", "aiohttp.server", "error")


def test_an_exception_is_part_of_its_line(stream):
    logs.configure("INFO", stream)
    try:
        int("deep inside")
    except ValueError:
        logging.getLogger("asyncio").exception("Task failed")
    (one,) = lines(stream)
    assert "ValueError: invalid literal" in one["exception"]


def test_kopf_lines_about_a_model_name_it(stream):
    logs.configure("INFO", stream)
    reference = {"kind": "InferenceModel", "namespace": "models", "name": "a", "uid": "u"}
    logging.getLogger("kopf.objects").warning("odd", extra={"k8s_ref": reference})
    logging.getLogger("kopf.objects").warning("odder", extra={"k8s_ref": {**reference, "kind": "Pod"}})
    first, second = lines(stream)
    assert first["model"] == "models/a"
    assert second["object"] == "Pod models a"


def test_what_comes_again_is_said_once_and_then_with_its_number(stream, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(logs.time, "monotonic", lambda: now[0])
    logs.configure("INFO", stream)
    kopf = logging.getLogger("kopf.clients")
    for attempt in range(50):
        kopf.error("Request attempt #%d/1800 failed; will retry", attempt)
        now[0] += 1
    now[0] += 60
    kopf.error("Request attempt #51/1800 failed; will retry")
    kopf.error("something else")
    first, again, other = lines(stream)
    assert "left_out" not in first
    assert again["left_out"] == 49
    assert other["event"] == "something else"


def test_own_warnings_are_not_repeated_either_but_each_model_has_its_own(stream, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(logs.time, "monotonic", lambda: now[0])
    logs.configure("INFO", stream)
    log = structlog.get_logger()
    for seconds in range(30):
        log.warning("away", seconds=seconds, error="errno 111")
        log.info("applying")
        now[0] += 1
    for name in "ab":
        with structlog.contextvars.bound_contextvars(model=f"m/{name}"):
            log.warning("away", error="errno 111")
    log.warning("away", error="refused")
    now[0] += 60
    log.warning("away", error="errno 112")
    said = [one for one in lines(stream) if one["event"] == "away"]
    assert [(one.get("model"), one["error"], one.get("left_out")) for one in said] == [
        (None, "errno 111", None),
        ("m/a", "errno 111", None),
        ("m/b", "errno 111", None),
        (None, "refused", None),
        (None, "errno 112", 29),
    ]
    assert len(lines(stream)) == 35


@pytest.mark.parametrize("level", ["DEBUG", "INFO", "WARNING", "ERROR"])
def test_levels_hold_for_all_and_bodies_of_requests_are_never_logged(level, stream):
    logs.configure(level, stream)
    own = structlog.get_logger()
    for name in ("debug", "info", "warning", "error"):
        getattr(own, name)(f"own {name}")
        getattr(logging.getLogger("kopf.reactor"), name)(f"kopf {name}")
    logging.getLogger("kubernetes.client.rest").debug("response body: a token")
    order = ["DEBUG", "INFO", "WARNING", "ERROR"]
    shown = order[order.index(level) :]
    events = [one["event"] for one in lines(stream)]
    assert [one for one in events if one.startswith("own")] == [f"own {name.lower()}" for name in shown]
    assert [one for one in events if one.startswith("kopf")] == [
        f"kopf {name.lower()}" for name in shown if name != "DEBUG"
    ]
    assert "token" not in stream.getvalue()


@contextlib.asynccontextmanager
async def block():
    """As kopf waits beside each watch for its pause."""
    waiter = asyncio.ensure_future(asyncio.sleep(100))
    try:
        yield
    finally:
        waiter.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiter


async def watch():
    async with block():
        yield


@pytest.mark.parametrize("handler", [None, app.at_the_end])
def test_watches_that_asyncio_closes_at_the_end_say_nothing(caplog, handler):
    left_open = [watch() for _ in range(9)]

    async def main():
        asyncio.get_running_loop().set_exception_handler(handler)
        for each in left_open:
            await anext(each)

    asyncio.run(main())
    said = [record for record in caplog.records if "closing of asynchronous generator" in record.message]
    assert bool(said) == (handler is None)


def test_other_errors_are_told_at_the_end_too(caplog):
    loop = asyncio.new_event_loop()
    app.at_the_end(loop, {"message": "a task has failed"})
    loop.close()
    assert "a task has failed" in caplog.text
