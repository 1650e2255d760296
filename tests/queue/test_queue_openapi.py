"""The OpenAPI document, held against the server by schemathesis."""

import asyncio
import io
import json
import os
import queue
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from queue_setup import DONE, PLAIN, Start, base, chunk, eventually
from raw_http import RawClient, request
from v1_worker import V1Worker

from headrace_api import wire
from headrace_api.keys import KeyLimits
from headrace_queue import calls, openapi
from headrace_queue.app import QueueServer
from headrace_queue.errors import ApiError
from headrace_queue.http.head import _WANTED
from headrace_queue.keys.headers import rate_limit_headers
from headrace_queue.keys.meter import Meter
from headrace_queue.ledger.usage_api import USAGE_PATH
from headrace_queue.logs import make_logger
from headrace_queue.needs import HOSTING, TAGS, read_needs


async def test_it_names_what_there_is(start: Start) -> None:
    started = await start()
    posts = {each.path for each in openapi.OPERATIONS if each.method == "post"}
    assert posts == {path.decode() for path in calls.PATHS}
    pages = {each.path for each in openapi.OPERATIONS if each.method == "get"}
    assert pages >= {USAGE_PATH, *(path.decode() for path in started.server._api._pages)}
    for each in openapi.OPERATIONS:
        wrong = "DELETE" if each.method == "post" else "POST"
        async with RawClient(started.server.port) as client:
            client.send(request(wrong, each.path.replace("{model}", "m"), b"{}"))
            answer = await client.response()
        assert answer.status == 405, each
        assert each.method.upper() in [word.strip() for word in answer.headers["allow"].upper().split(",")]
    async with started.http.get(f"{started.url}/openapi.json") as response:
        assert await response.json() == openapi.document()


def test_it_names_the_headers_that_are_read_and_those_that_are_sent() -> None:
    operation = openapi.document()["paths"]["/v1/chat/completions"]["post"]
    read = {name.decode() for name in _WANTED if name.startswith(b"x-")}
    assert {each["name"] for each in operation["parameters"] if each["in"] == "header"} == read
    meter = Meter(KeyLimits(requests_per_minute=1, tokens_per_day=1))
    limits = rate_limit_headers(meter, 0.0)
    assert len(limits) == 6
    for status in ("200", "4XX", "5XX"):
        sent = operation["responses"][status]["headers"]
        assert sent.keys() >= {"x-request-id", *limits}
    assert "x-headrace-eta-seconds" in operation["responses"]["200"]["headers"]


VALUES = st.text(
    st.sampled_from(" \t,") | st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_characters="\x7f")
)
"""Of a header: what HTTP lets through."""


@given(VALUES | st.lists(VALUES, max_size=6).map(",".join))
@example("a,b,c,d")
@example("a,b,c,d,e")
@example(" a, ,b c,,d\t,e,")
@example("a,a,a,a,a")
@example("x" * 64 + " ," + "y" * 64)
@example("x" * 65)
@example("\xa0" + "x" * 64)
def test_it_says_which_tags_and_hostings_are_accepted(said: str) -> None:
    operation = openapi.document()["paths"]["/v1/chat/completions"]["post"]
    schemas = {each["name"]: each["schema"] for each in operation["parameters"]}
    for name, asked in ((TAGS, (said, "")), (HOSTING, ("", said))):
        assert schemas[name]["type"] == "string"
        accepted = True
        try:
            read_needs(*asked)
        except ApiError:
            accepted = False
        assert accepted == bool(re.search(schemas[name]["pattern"], said)), name


FUZZ_SECONDS = os.environ.get("HEADRACE_FUZZ_SECONDS")
CHOICE = {"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}


async def work(port: int) -> None:
    """Answer whatever comes, each path in its own shape."""
    async with V1Worker(f"ws://127.0.0.1:{port}/worker", "m", "org/m:a", credit=1000, tags=["t"]) as worker:
        while True:
            for message in wire.read_queue_messages(await worker.socket.recv()):
                if isinstance(message, wire.Job):
                    await answer(worker, message)


async def answer(worker: V1Worker, job: wire.Job) -> None:
    stream = bool(job.openai_req.get("stream"))
    body = {**PLAIN, "choices": [CHOICE]} if job.openai_url == calls.CHAT else {"object": "list"}
    if stream:
        await worker.pieces((job.job, chunk("x")), (job.job, DONE))
    await worker.send(wire.Result(job=job.job, request_id=job.request_id, body=None if stream else body))
    await worker.send(wire.Credit(n=1))


class Statuses(io.StringIO):
    """A log of which nothing is kept but exceptions, and how often each status was answered: it would grow."""

    def __init__(self) -> None:
        super().__init__()
        self.count = Counter[int]()
        self.exceptions: list[str] = []
        self.before = 0
        """The memory after enough requests that every part of the queue has been in use; 0 where there were fewer."""

    def write(self, line: str) -> int:
        fields = json.loads(line)
        if "exception" in fields:
            self.exceptions.append(line)
        if "status" in fields:
            self.count[fields["status"]] += 1
            if self.count.total() == 500:
                self.before = psutil.Process().memory_info().rss
        return len(line)


async def serve(folder: Path, started: queue.Queue[int], stop: threading.Event, log: Statuses) -> None:
    async with QueueServer(base(folder), CollectorRegistry(), make_logger(stream=log)) as server:
        worker = asyncio.create_task(work(server.port))
        await eventually(lambda: server.dispatcher.schedule.free("m"))
        started.put(server.port)
        await asyncio.to_thread(stop.wait)
        worker.cancel()
        await asyncio.wait([worker])


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[int, Statuses]]:
    """A queue with a worker, in a thread of its own: its port and its log."""
    log, stop, started = Statuses(), threading.Event(), queue.Queue[int]()
    thread = threading.Thread(target=lambda: asyncio.run(serve(tmp_path, started, stop, log)))
    thread.start()
    try:
        yield started.get(timeout=10), log
    finally:
        stop.set()
        thread.join()


@pytest.mark.slow
@pytest.mark.timeout(600 + float(FUZZ_SECONDS or 0))
def test_schemathesis_finds_nothing(served: tuple[int, Statuses], tmp_path: Path) -> None:
    """`HEADRACE_FUZZ_SECONDS=600` for a long run; its seed is in the message."""
    port, log = served
    program = Path(sys.executable).with_name("schemathesis")
    url = f"http://127.0.0.1:{port}/openapi.json"
    extent = ["--max-time", FUZZ_SECONDS] if FUZZ_SECONDS else ["--generation-deterministic"]
    options = ["--checks", "all", "--max-examples", "15", *extent, "--no-color"]
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"SCHEMATHESIS_HOOKS": "schemathesis_hooks", "PYTHONPATH": paths}
    done = subprocess.run(
        [program, "run", url, *options], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not log.exceptions
    assert log.count[200] > 30, "the requests that are right reach the worker"
    assert log.count[400] > 30
    assert not any(status >= 500 for status in log.count), log.count
    grown = psutil.Process().memory_info().rss - log.before
    assert not log.before or grown < 64 * 2**20, f"{grown / 2**20:.0f} MiB more after {log.count.total()} requests"
