"""What clients see beside the answers: ids, names, keys, comments while they wait, and TLS."""

import asyncio
import gc
import io
import json
import math
import ssl
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import openai
import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry
from queue_setup import DONE, PLAIN, Queue, Start, base, chunk, eventually
from raw_http import RawClient, request
from v1_worker import V1Worker

from headrace_api import wire
from headrace_queue.access import Admission
from headrace_queue.app import QueueServer
from headrace_queue.errors import ApiError
from headrace_queue.exchange import Call, Exchange
from headrace_queue.http import server as http_server
from headrace_queue.logs import make_logger
from headrace_queue.waiting_room import WaitingRoom

CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
STREAM = CHAT | {"stream": True}
WAITING = b": waiting\n\n"


@pytest.fixture
def fast_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "_TICK_SECONDS", 0.02)


async def test_a_clients_request_id_is_for_its_own_books(queue: Queue) -> None:
    async with V1Worker(queue.worker_url, "m", credit=2) as worker, RawClient(queue.server.port) as client:
        inside = set()
        for _ in range(2):
            client.post(CHAT, x_request_id="mine/1")
            job = await worker.expect(wire.Job)
            inside.add(job.request_id)
            await worker.result(job, body=PLAIN)
            assert (await client.response()).headers["x-request-id"] == "mine/1"
        client.post(CHAT, x_request_id="mine 1")
        answer = await client.response()
        assert (answer.status, answer.error["param"]) == (400, "x-request-id")
    assert len(inside) == 2
    lines = [line for line in queue.logged() if line["event"] == "request"]
    assert {line["request_id"] for line in lines[:2]} == inside
    assert [line.get("client_request_id") for line in lines] == ["mine/1", "mine/1", None]


@pytest.mark.parametrize(
    ("method", "path", "fields", "status"),
    [
        ("GET", "/v1/models", {}, 200),
        ("HEAD", "/v1/models/m", {}, 200),
        ("GET", "/v1/models/n", {}, 404),
        ("PUT", "/v1/models", {}, 405),
        ("GET", "/healthz", {}, 200),
        ("GET", "/openapi.json", {}, 200),
        ("POST", "/v1/embeddings", {"content_encoding": "gzip"}, 415),
        ("POST", "/v1/embeddings", {"expect": "a miracle"}, 417),
        ("POST", "/v1/embeddings", {"content_length": "99999999"}, 413),
        ("GET", "/v1/usage", {}, 200),
        ("GET", "/v1/usage?format=csv", {}, 200),
        ("GET", "/v1/usage?format=x", {}, 400),
        ("GET", "/v1/nothing", {}, 404),
    ],
)
async def test_every_answer_has_the_clients_id_or_one_of_the_queues(
    start: Start, method: str, path: str, fields: dict[str, str], status: int
) -> None:
    queue = await start(models=("m",))
    for brought in ("mine/1", None, "mine 1"):
        async with RawClient(queue.server.port) as client:
            given = {} if brought is None else {"x-request-id": brought}
            client.send(request(method, path, b"{}" if fields else b"", **fields, **given))
            answer = await client.response(body=method != "HEAD")
        strict = brought == "mine 1" and path.startswith("/v1/models") and status in {200, 404}
        assert answer.status == (400 if strict else status)
        told = answer.headers["x-request-id"]
        assert told == brought if brought == "mine/1" else len(told) == 32


@pytest.mark.slow
@pytest.mark.usefixtures("fast_ticks")
async def test_a_stream_that_waits_gets_comments(start: Start) -> None:
    queue = await start(models=("m",), waiting_comment_seconds=0.1, hold_seconds=0.5)
    async with RawClient(queue.server.port) as client:
        client.post(STREAM)
        head = await client.head()
        assert (head.status, head.headers["content-type"]) == (200, "text/event-stream")
        for _ in range(2):
            assert await client.chunk() == WAITING
        async with V1Worker(queue.worker_url, "m", credit=1) as worker:
            job = await worker.expect(wire.Job)
            assert await client.chunk() == WAITING, "until the first token"
            await worker.pieces((job.job, chunk("x")))
            while (data := await client.chunk()) == WAITING:
                pass
            assert data == chunk("x")
            await asyncio.sleep(0.3)
            await worker.pieces((job.job, DONE))
            await worker.result(job)
            assert [await client.chunk(), await client.chunk()] == [DONE, b""]
        client.post(STREAM)
        data = (await client.response()).body
        *comments, event, end = data.split(b"\n\n")
        assert {comment[:9] for comment in comments} == {WAITING[:9]}
        assert end == b""
        error = json.loads(event.removeprefix(b"data: "))["error"]
        assert error["code"] == "no_worker"
        client.post(CHAT)
        assert (await client.response()).status == 503, "what is not a stream keeps its status"
    statuses = [line["status"] for line in queue.logged() if line["event"] == "request"]
    assert statuses == [200, 503, 503]


@pytest.mark.slow
@pytest.mark.usefixtures("fast_ticks")
async def test_who_waits_is_told_for_how_long(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    known: list[float | None] = [None]
    monkeypatch.setattr(WaitingRoom, "eta_of", lambda *_: known[0])
    queue = await start(models=("m",), waiting_comment_seconds=0.1)
    for seconds, comment, told in ((None, "waiting", None), (30.2, "waiting, about 31 s", "31")):
        known[0] = seconds
        async with RawClient(queue.server.port) as client:
            client.post(STREAM)
            assert (await client.head()).headers.get("x-headrace-eta-seconds") == told
            assert await client.chunk() == f": {comment}\n\n".encode()
            known[0] = 29.0
            async with asyncio.timeout(5):
                while await client.chunk() != b": waiting, about 29 s\n\n":
                    pass


@pytest.mark.usefixtures("fast_ticks")
async def test_a_connection_whose_time_cannot_be_looked_after_is_the_only_one_to_end(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    def eta_of(_: WaitingRoom, exchange: Exchange) -> float | None:
        return math.inf if exchange.call.model == "endless" else None

    monkeypatch.setattr(WaitingRoom, "eta_of", eta_of)
    queue = await start(models=("m", "endless"), waiting_comment_seconds=0.05)
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(RawClient(queue.server.port)) for _ in range(4)]
        for client, model in zip(clients, ("m", "endless", "m", "m"), strict=True):
            client.post(STREAM | {"model": model})
        assert await clients.pop(1).ended() == b""
        for client in clients:
            assert (await client.head()).status == 200
            assert await client.chunk() == WAITING
    (line,) = [line for line in queue.logged() if line["event"] == "a connection has failed"]
    assert "OverflowError" in line["exception"]


@pytest.mark.usefixtures("fast_ticks")
async def test_the_official_client_reads_over_comments(start: Start) -> None:
    queue = await start(models=("m",), waiting_comment_seconds=0.05)
    stream = await asyncio.wait_for(queue.ask(stream=True), 5)
    async with V1Worker(queue.worker_url, "m", credit=2) as worker:
        job = await worker.expect(wire.Job)
        choice = {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
        await worker.result(job, body=PLAIN | {"choices": [choice]})
        assert "".join([each.choices[0].delta.content or "" async for each in stream]) == "hi"
        stream = await asyncio.wait_for(queue.ask(stream=True), 5)
        job = await worker.expect(wire.Job)
        await worker.result(job, status=400, body={"error": {"message": "too long", "type": "invalid_request_error"}})
        with pytest.raises(openai.APIError, match="too long"):
            await anext(aiter(stream))


async def test_what_is_asked_for_by_an_alias_stays_as_it_came(start: Start) -> None:
    queue = await start(aliases=(("gpt", "m"),))
    fields = '"messages": [{"role": "user", "content": "\\u00fc"}], "seed": 123456789012345678901234567890, "x": 1e999'
    async with V1Worker(queue.worker_url, "m", credit=1) as worker:
        headers = {"content-type": "application/json"}
        body = f'{{"model": "gpt", {fields}}}'.encode()
        asked = asyncio.create_task(queue.http.post(queue.url + "/v1/chat/completions", data=body, headers=headers))
        frame = await worker.socket.recv()
        job = wire.read_queue_messages(frame)[0]
        assert isinstance(job, wire.Job)
        assert job.openai_req == {"model": "m", **json.loads(f"{{{fields}}}")}
        assert "1e999" in str(frame)
        await worker.result(job, body=PLAIN)
        async with await asked as response:
            assert response.status == 200


async def test_aliases(start: Start) -> None:
    queue = await start(aliases=(("gpt", "org/m"), ("gone", "nope")))
    async with V1Worker(queue.worker_url, "org/m", "org/m:legal", credit=3) as worker:
        assert [each.id async for each in await queue.client.models.list()] == ["gpt", "org/m", "org/m:legal"]
        assert (await queue.client.models.retrieve("gpt")).id == "gpt"
        for name, meant, adapter in (
            ("gpt", "org/m", ""),
            ("gpt:legal", "org/m:legal", "legal"),
            ("org/m", "org/m", ""),
        ):
            task = queue.ask(name, seed=2**63, temperature=1.0)
            job = await worker.expect(wire.Job)
            assert (job.openai_req["model"], job.openai_req["seed"]) == (meant, 2**63)
            (exchange,) = queue.server.dispatcher._open
            assert (exchange.call.model, exchange.call.adapter) == (meant, adapter)
            await worker.result(job, body=PLAIN)
            await task
        with pytest.raises(openai.NotFoundError, match="'nope' does not exist"):
            await queue.ask("gone")


async def test_a_conversation_that_changes_between_alias_and_name_has_the_same_beginnings(start: Start) -> None:
    queue = await start(aliases=(("gpt", "m"),))
    async with V1Worker(queue.worker_url, "m", credit=2) as worker:
        found = set()
        for name in ("gpt", "m"):
            messages: Any = [{"role": "user", "content": "x" * 600}]
            task = asyncio.create_task(queue.client.chat.completions.create(model=name, messages=messages))
            job = await worker.expect(wire.Job)
            (exchange,) = queue.server.dispatcher._open
            found.add(exchange.call.prefixes)
            await worker.result(job, body=PLAIN)
            await task
    (names,) = found
    assert names


async def test_a_colon_alone_makes_no_adapter(queue: Queue) -> None:
    async with V1Worker(queue.worker_url, "CoolModelv2:Q4_K_M", credit=1) as worker:
        task = queue.ask("CoolModelv2:Q4_K_M")
        job = await worker.expect(wire.Job)
        (exchange,) = queue.server.dispatcher._open
        assert (exchange.call.model, exchange.call.adapter) == ("CoolModelv2:Q4_K_M", "")
        await worker.result(job, body=PLAIN)
        await task


async def test_tokenize_has_both_paths(queue: Queue) -> None:
    async with V1Worker(queue.worker_url, "m", credit=2) as worker, RawClient(queue.server.port) as client:
        for path in ("/tokenize", "/v1/tokenize?x=1"):
            client.post({"model": "m", "prompt": "x"}, path)
            job = await worker.expect(wire.Job)
            assert (job.openai_url, job.openai_req) == ("/tokenize", {"model": "m", "prompt": "x"})
            await worker.result(job, body={"tokens": [1]})
            assert json.loads((await client.response()).body) == {"tokens": [1]}


class OneKey:
    """Lets one key in, for one model, and remembers what was settled."""

    def __init__(self) -> None:
        self.settled: list[wire.Usage | str | None] = []

    def caller(self, authorization: str, /) -> "OneKey":
        if authorization != "Bearer key":
            raise ApiError(401, "invalid_api_key", "Incorrect API key provided.")
        return self

    def admit(self, call: Call, /) -> "OneAdmission":
        return OneAdmission(replace(call, key="1", priority=3), self.settled)

    def visible(self, models: Iterable[str], /) -> list[str]:
        return [name for name in sorted(models) if name == "m"]


class OneAdmission:
    def __init__(self, call: Call, settled: list[wire.Usage | str | None]) -> None:
        self.call = call
        self.fields = b""
        self._settled = settled

    def leave(self) -> None:
        self._settled.append("left")

    def settle(self, usage: wire.Usage | None, *, worked: bool) -> None:
        assert worked == (usage is not None)
        self._settled.append(usage)


async def test_access_is_asked_and_told_once(tmp_path: Path) -> None:
    access, usage = OneKey(), wire.Usage(prompt_tokens=3, completion_tokens=2, total_tokens=5)
    async with QueueServer(base(tmp_path), CollectorRegistry(), make_logger("ERROR"), access) as server:
        worker_url = f"ws://127.0.0.1:{server.port}/worker"
        async with V1Worker(worker_url, "m", "n", credit=2) as worker, RawClient(server.port) as client:
            client.post(CHAT | {"model": "nope"})
            assert (await client.response()).status == 401, "and not 404: names are none of their business"
            client.post(b"no JSON")
            assert (await client.response()).status == 401, "and not 400: nothing is read of what they send"
            assert access.settled == []
            client.send(request("GET", "/v1/models"))
            assert (await client.response()).status == 401
            client.send(request("GET", "/v1/models/n", authorization="Bearer key"))
            assert "'m'" not in (answer := await client.response()).error["message"]
            assert (answer.status, answer.error["code"]) == (404, "model_not_found")
            client.post(CHAT | {"model": "nope"}, authorization="Bearer key")
            assert (await client.response()).status == 404
            assert access.settled == [None]
            client.post(CHAT, authorization="Bearer key")
            job = await worker.expect(wire.Job)
            (exchange,) = server.dispatcher._open
            assert (exchange.call.key, exchange.call.priority) == ("1", 3)
            await worker.result(job, usage=usage, body=PLAIN)
            assert (await client.response()).status == 200
            assert access.settled == [None, usage]
            client.post(CHAT, authorization="Bearer key")
            job = await worker.expect(wire.Job)
            client.writer.transport.abort()
            await worker.expect(wire.Cancel)
            await eventually(lambda: access.settled == [None, usage, "left"])
            await worker.result(job, status=499, usage=usage)
            of_nothing = wire.Usage(usage.prompt_tokens, 0, 0, usage.prompt_tokens)
            assert access.settled == [None, usage, "left", of_nothing], "not a byte of the answer has come"


class Faulty:
    def caller(self, _: str, /) -> "Faulty":
        return self

    def admit(self, _: Call, /) -> Admission:
        raise ZeroDivisionError

    def visible(self, models: Iterable[str], /) -> list[str]:
        return list(models)


async def test_a_fault_of_the_queue_is_an_error_of_one_request(tmp_path: Path) -> None:
    log = io.StringIO()
    async with (
        QueueServer(base(tmp_path), CollectorRegistry(), make_logger(stream=log), Faulty()) as server,
        RawClient(server.port) as client,
    ):
        client.post(CHAT)
        answer = await client.response()
        assert (answer.status, answer.error["code"]) == (500, "internal_error")
        client.send(request("GET", "/healthz"))
        assert (await client.response()).status == 200
    logged = [json.loads(line) for line in log.getvalue().splitlines()]
    (line,) = [line for line in logged if line["event"] == "a request has failed"]
    assert "ZeroDivisionError" in line["exception"]
    assert line["request_id"] == answer.headers["x-request-id"]


async def test_a_fault_in_one_answer_leaves_the_others_alone(queue: Queue) -> None:
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    async with V1Worker(queue.worker_url, "m", credit=2) as worker:
        tasks = [queue.ask(stream=True), queue.ask(stream=True)]
        jobs = [await worker.expect(wire.Job) for _ in tasks]
        (one, _) = queue.server._http._connections
        one._transport.write = Mock(side_effect=ZeroDivisionError)
        await worker.pieces(*((job.job, chunk("x") + DONE) for job in jobs))
        cancelled = await worker.expect(wire.Cancel)
        (good,) = [job for job in jobs if job.job != cancelled.job]
        await worker.result(good)
        done, _ = await asyncio.wait(tasks)
    assert sorted(isinstance(task.exception(), openai.APIConnectionError) for task in done) == [False, True]
    (context,) = reported
    assert isinstance(context["exception"], ZeroDivisionError)


def make_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    files = folder / f"{name}.crt", folder / f"{name}.key"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]
    subject = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, *subject, "-out", files[0], "-keyout", files[1]], check=True, capture_output=True)
    return files


@pytest.fixture
async def tls(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Queue, Path]:
    monkeypatch.setattr(http_server, "_TICK_SECONDS", 0.02)
    files = make_certificate(tmp_path, "served")
    return await start(tls=files), tmp_path


async def test_tls_for_clients_and_workers(tls: tuple[Queue, Path]) -> None:
    queue, folder = tls
    trusting = ssl.create_default_context(cafile=str(folder / "served.crt"))
    async with RawClient(queue.server.port, trusting) as client:
        worker = V1Worker(queue.worker_url.replace("ws:", "wss:"), "m", credit=2, context=trusting)
        async with worker:
            for sent in (CHAT, STREAM):
                client.post(sent)
                job = await worker.expect(wire.Job)
                await worker.pieces((job.job, b"x" * 500_000))
                await worker.result(job)
                assert (await client.response()).body == b"x" * 500_000
            client.post(STREAM)
        client.send(request("GET", "/v1/nothing"))


@pytest.mark.slow
async def test_the_certificate_is_renewed_without_a_restart(tls: tuple[Queue, Path]) -> None:
    queue, folder = tls
    certificate, key = make_certificate(folder, "next")
    trusting = ssl.create_default_context(cafile=str(folder / "served.crt"))
    trusting.load_verify_locations(str(certificate))

    async def served_name() -> str:
        async with RawClient(queue.server.port, trusting) as client:
            subject = client.writer.get_extra_info("peercert")["subject"]
        return str(dict(part[0] for part in subject)["commonName"])

    assert await served_name() == "served"
    (folder / "served.key").write_bytes(key.read_bytes())
    await eventually(lambda: any("cannot be used" in line["event"] for line in queue.logged()))
    assert await served_name() == "served"
    (folder / "served.crt").write_bytes(certificate.read_bytes())
    async with asyncio.timeout(5):
        while await served_name() != "next":
            await asyncio.sleep(0.05)


@pytest.fixture
def no_garbage_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.slow
@pytest.mark.usefixtures("no_garbage_collection")
@pytest.mark.parametrize("leaves", [False, True])
@pytest.mark.parametrize("stream", [False, True])
async def test_what_a_request_has_used_is_free_at_once(queue: Queue, *, stream: bool, leaves: bool) -> None:
    async with V1Worker(queue.worker_url, "m", credit=1) as worker:
        async with RawClient(queue.server.port) as client:
            client.post(CHAT | {"stream": stream})
            job = await worker.expect(wire.Job)
            if leaves:
                client.writer.transport.abort()
                await worker.expect(wire.Cancel)
            await worker.result(job, body=PLAIN, status=499 if leaves else 200)
        await eventually(lambda: not any(type(each) is Exchange for each in gc.get_objects()))
