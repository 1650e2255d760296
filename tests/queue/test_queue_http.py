"""The HTTP of the public port, byte by byte."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from queue_setup import DONE, PLAIN, Queue, Start, chunk, eventually
from raw_http import RawClient, request
from v1_worker import V1Worker

from headrace_api import wire
from headrace_queue.errors import ApiError
from headrace_queue.http import server as http_server
from headrace_queue.http.body import body_of
from headrace_queue.http.connection import HttpLimits
from headrace_queue.http.head import Head, read_head
from headrace_queue.http.reply import Reply
from headrace_queue.http.server import HttpServer
from headrace_queue.logs import make_logger

CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
RAW = json.dumps(CHAT).encode()


@pytest.fixture
async def client(queue: Queue) -> AsyncIterator[RawClient]:
    async with RawClient(queue.server.port) as opened:
        yield opened


async def test_requests_sent_ahead_are_answered_in_order(client: RawClient) -> None:
    paths = ["/v1/models", "/v1/models/nope", "/healthz", "/readyz?x=1", "http://x/v1/models?y=2"]
    client.send(b"\r\n".join(request("GET", path) for path in paths))
    answers = [await client.response() for _ in paths]
    assert [each.status for each in answers] == [200, 404, 200, 200, 200]
    assert answers[3].body == b"ready"
    assert json.loads(answers[4].body) == {"object": "list", "data": []}
    assert all("date" in each.headers and "connection" not in each.headers for each in answers)


async def test_a_request_may_come_in_any_pieces(queue: Queue, client: RawClient) -> None:
    async with V1Worker(queue.worker_url, "m", credit=2) as worker:
        for size in (1, 7):
            sent = request("POST", "/v1/chat/completions", RAW)
            for start in range(0, len(sent), size):
                client.send(sent[start : start + size])
                await asyncio.sleep(0)
            job = await worker.expect(wire.Job)
            assert job.openai_req == CHAT
            await worker.result(job, body=PLAIN)
            assert (await client.response()).status == 200


async def test_a_body_in_chunks(queue: Queue, client: RawClient) -> None:
    parts = b"".join(b"%x;ext=1\r\n%b\r\n" % (len(RAW[i : i + 9]), RAW[i : i + 9]) for i in range(0, len(RAW), 9))
    sent = request(
        "POST", "/v1/chat/completions", parts + b"0\r\nauthorization: x\r\n\r\n", transfer_encoding="chunked"
    )
    async with V1Worker(queue.worker_url, "m", credit=3) as worker:
        for pieces in ([sent], [sent[:100], sent[100:150], sent[150:]], [sent + sent]):
            for piece in pieces:
                client.send(piece)
                await asyncio.sleep(0.01)
            job = await worker.expect(wire.Job)
            assert job.openai_req == CHAT
            await worker.result(job, body=PLAIN)
            answer = await client.response()
            assert answer.status == 200
        assert answer.headers["connection"] == "close", "where the second one begins is not known"
        assert await client.ended() == b""


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_the_clients_version_and_wish_decide_on_the_connection(queue: Queue, version: str) -> None:
    for wish, goes_on in (("", version == "1.1"), ("keep-alive", True), ("close", False)):
        async with RawClient(queue.server.port) as client:
            sent = request("GET", "/v1/models", version=version)
            client.send(sent.replace(b"\r\n", f"\r\nconnection: {wish}\r\n".encode(), 1) if wish else sent)
            assert (await client.response()).status == 200
            if goes_on:
                client.send(request("HEAD", "/v1/models"))
                answer = await client.response(body=False)
                assert int(answer.headers["content-length"]) > 10
            else:
                assert await client.ended() == b""


async def test_an_old_client_gets_a_stream_until_the_connection_ends(queue: Queue, client: RawClient) -> None:
    async with V1Worker(queue.worker_url, "m", credit=1) as worker:
        client.send(
            request("POST", "/v1/chat/completions", json.dumps(CHAT | {"stream": True}).encode(), version="1.0")
        )
        job = await worker.expect(wire.Job)
        await worker.pieces((job.job, chunk("x")))
        head = await client.head()
        assert "transfer-encoding" not in head.headers
        await worker.pieces((job.job, DONE))
        await worker.result(job)
        assert await client.ended() == chunk("x") + DONE


async def test_expect_continue(queue: Queue, client: RawClient) -> None:
    async with V1Worker(queue.worker_url, "m", credit=2) as worker:
        head = request("POST", "/v1/chat/completions", RAW, expect="100-continue").removesuffix(RAW)
        client.send(head)
        assert (await client.head()).status == 100
        client.send(RAW)
        await worker.result(await worker.expect(wire.Job), body=PLAIN)
        assert (await client.response()).status == 200
        client.post(RAW, expect="")
        await worker.result(await worker.expect(wire.Job), body=PLAIN)
        assert (await client.response()).status == 200, "nothing is expected"
    client.post(RAW, expect="a miracle")
    answer = await client.response()
    assert (answer.status, answer.error["param"]) == (417, "expect")


async def test_what_is_too_large_is_refused_while_it_comes(start: Start) -> None:
    queue = await start(max_request_bytes=1000)
    chunks = b"".join(b"1\r\nx\r\n" for _ in range(1001))
    for head in ({"content_length": "1001"}, {"content_length": "99999999999999"}, {"transfer_encoding": "chunked"}):
        async with RawClient(queue.server.port) as client:
            client.send(request("POST", "/v1/chat/completions", b"", **head))
            client.send(chunks)
            client.send(b"x" * 10_000_000)
            answer = await client.response()
            assert (answer.status, answer.error["code"]) == (413, "request_too_large")
            assert await client.ended() == b""
    extensions = b"1;" + b"x" * 100_000 + b"\r\nx\r\n"
    async with RawClient(queue.server.port) as client:
        client.send(request("POST", "/v1/chat/completions", extensions, transfer_encoding="chunked"))
        assert (await client.response()).status == 413
    assert queue.metric("headrace_queue_requests_total", model="other", status="413") == 4


@pytest.mark.parametrize(
    ("sent", "status", "words"),
    [
        (b"nonsense\r\n\r\n", 400, "HTTP/1.1"),
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400, "HTTP/1.1"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "HTTP/1.1"),
        (request("POST", "/tokenize", content_length="x"), 400, "Content-Length"),
        (request("POST", "/tokenize", b"0\r\n\r\n", content_length="5", transfer_encoding="chunked"), 400, "HTTP/1.1"),
        (request("POST", "/tokenize", b"zz\r\n", transfer_encoding="chunked"), 400, "chunk size"),
        (request("GET", "/v1/models", x="y" * 70_000), 431, "65536"),
        (b"GET /" + b"x" * 70_000, 431, "65536"),
        (request("POST", "/v1/embeddings", b"x", content_encoding="gzip"), 415, "gzip"),
        (request("GET", "/v1/chat/completions"), 405, "It takes POST."),
        (request("DELETE", "/v1/models/m%20m"), 405, "DELETE /v1/models/m m"),
        (request("GET", "/v1/models/%ff%0d%0aset-cookie:x"), 404, "does not exist"),
    ],
)
async def test_what_cannot_be_served_gets_openais_error(
    client: RawClient, sent: bytes, status: int, words: str
) -> None:
    client.send(sent)
    answer = await client.response()
    assert (answer.status, answer.error["type"]) == (status, "invalid_request_error")
    assert words in answer.error["message"]
    assert len(answer.headers["x-request-id"]) == 32
    if status in {400, 431}:
        assert await client.ended() == b""


async def test_what_is_handed_over_may_have_as_large_a_head(queue: Queue) -> None:
    for path, header, status in (("/v1/usage?key=" + "y" * 60_000, "y", 200), ("/v1/nothing", "y" * 60_000, 404)):
        async with RawClient(queue.server.port) as client:
            client.send(request("GET", path, x=header))
            assert (await client.response()).status == status


@pytest.mark.parametrize(
    "sent",
    [
        request("GET", "/v1/usage", b"", "1.1", **{f"x{number}": "y" for number in range(200)}),
        request("GET", "/v1/usage", host="x\r\nhost: y"),
        request("GET", "/v1/usage") + b"nonsense\r\n\r\n",
        request("POST", "/v1/usage", b"zz\r\n", transfer_encoding="chunked"),
    ],
)
async def test_what_is_handed_over_and_cannot_be_read(
    client: RawClient, caplog: pytest.LogCaptureFixture, sent: bytes
) -> None:
    client.send(sent)
    answer = await client.response()
    assert (answer.status, answer.headers["connection"], answer.error["code"]) == (400, "close", "invalid_http")
    assert len(answer.headers["x-request-id"]) == 32
    assert await client.ended() == b""
    assert not caplog.records, "bad requests do not fill the log"


async def test_who_sends_much_ahead_is_served_once(queue: Queue, client: RawClient) -> None:
    async with V1Worker(queue.worker_url, "m", credit=1) as worker:
        client.post(RAW)
        job = await worker.expect(wire.Job)
        for _ in range(30):
            client.send(b"x" * 10_000)
            await asyncio.sleep(0)
        await worker.result(job, body=PLAIN)
        answer = await client.response()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert await client.ended() == b""


async def test_other_paths_are_handed_over_for_good(client: RawClient) -> None:
    client.send(request("GET", "/v1/nothing") + request("GET", "/v1/models"))
    answer = await client.response()
    assert (answer.status, answer.headers["connection"]) == (404, "close")
    assert answer.error["message"].startswith("GET /v1/nothing")
    assert await client.ended() == b""


async def test_an_upgrade_that_nobody_offers_is_ignored(client: RawClient) -> None:
    client.send(request("GET", "/v1/models", connection="Upgrade, HTTP2-Settings", upgrade="h2c"))
    assert (await client.response()).status == 200
    client.post(b"{}", connection="Upgrade", upgrade="h2c")
    assert (await client.response()).status == 400
    client.send(request("GET", "/healthz"))
    assert (await client.response()).status == 200


async def test_a_client_that_does_not_read_does_not_slow_another(queue: Queue) -> None:
    """Both streams come over one worker's connection; one of them is read by nobody."""
    async with (
        V1Worker(queue.worker_url, "m", credit=2) as worker,
        RawClient(queue.server.port) as slow,
        RawClient(queue.server.port) as quick,
    ):
        jobs = []
        for client in (slow, quick):
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            client.post(CHAT | {"stream": True})
            jobs.append((await worker.expect(wire.Job)).job)
        quick.writer.transport.resume_reading()  # type: ignore[attr-defined]
        await worker.pieces((jobs[1], chunk("first")))
        await quick.head()
        assert await quick.chunk() == chunk("first")
        piece = chunk("x" * 100_000)
        for _ in range(100):
            await worker.pieces((jobs[0], piece), (jobs[1], b"data: 1\n\n"))
        received = b""
        while len(received) < 900:
            received += await quick.chunk()
        assert received == b"data: 1\n\n" * 100
        slow.writer.transport.resume_reading()  # type: ignore[attr-defined]
        await slow.head()
        received = b""
        while len(received) < 100 * len(piece):
            received += await slow.chunk()
        assert received == piece * 100


class Echo:
    """A service that tells what it was asked."""

    closing = False

    def takes(self, _: Head) -> bool:
        return True

    def serve(self, _: Head, body: bytes, reply: Reply) -> None:
        reply.send(200, b"", body)

    def refuse(self, _: Head | None, error: ApiError, reply: Reply) -> None:
        reply.send(error.status, b"", error.code.encode())


Listen = Callable[[HttpLimits], Awaitable[RawClient]]


@pytest.fixture
async def listen(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Listen]:
    """A server with such limits, and a client of it."""
    monkeypatch.setattr(http_server, "_TICK_SECONDS", 0.02)
    opened: list[tuple[HttpServer, RawClient]] = []

    async def listen_with(limits: HttpLimits) -> RawClient:
        server = HttpServer(Echo(), asyncio.Protocol, limits, make_logger())
        client = RawClient(await server.listen("127.0.0.1", 0))
        opened.append((server, await client.__aenter__()))
        return client

    yield listen_with
    for server, client in opened:
        await client.__aexit__()
        await server.close()


async def test_a_head_must_come_in_time(listen: Listen) -> None:
    client = await listen(HttpLimits(head_seconds=0.1))
    client.send("GET / HT")
    assert (await client.response()).body == b"request_too_slow"
    assert await client.ended() == b""


@pytest.mark.slow
async def test_a_body_must_keep_up_a_rate(listen: Listen) -> None:
    client = await listen(HttpLimits(body_seconds=0.1, body_rate=1000))
    client.send(request("POST", "/", content_length="2000"))
    for _ in range(20):
        client.send(b"x" * 100)
        await asyncio.sleep(0.02)
    assert len((await client.response()).body) == 2000
    client.send(request("POST", "/", content_length="2000"))
    sent = 0
    while not client.reader._buffer:  # type: ignore[attr-defined]  # nothing has come back
        client.send(b"x")
        sent += 1
        await asyncio.sleep(0.02)
    assert sent < 2000
    assert (await client.response()).status == 408


async def test_an_idle_connection_is_closed(listen: Listen) -> None:
    client = await listen(HttpLimits(idle_seconds=0.1))
    client.send(request("GET", "/"))
    assert (await client.response()).status == 200
    assert await client.ended() == b""


async def test_a_client_that_is_refused_cannot_send_for_ever(listen: Listen) -> None:
    client = await listen(HttpLimits(body=10, last_seconds=0.1))
    client.send(request("POST", "/", content_length="100"))
    assert (await client.response()).status == 413

    async def go_on() -> None:
        while True:
            client.send(b"x")
            await client.writer.drain()
            await asyncio.sleep(0.01)

    with pytest.raises(ConnectionError):
        await asyncio.wait_for(go_on(), 5)


BODIES = st.binary(max_size=300)


@given(st.lists(st.tuples(BODIES, st.integers(1, 50)), min_size=1, max_size=5), st.integers(1, 40))
def test_a_body_in_chunks_is_what_was_sent(parts: list[tuple[bytes, int]], step: int) -> None:
    body = b"".join(part for part, _ in parts)
    raw = b"".join(b"%X\r\n%b\r\n" % (len(part), part) for part, _ in parts if part) + b"0\r\n\r\n"
    head = Head()
    parser = read_head(b"POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n", head)
    collector = body_of(head, parser, 10_000)
    for start in range(0, len(raw), step):
        whole = collector.feed(raw[start : start + step])
        assert whole == (start + step >= len(raw))
    assert collector.take() == (body, b"")


@given(st.binary(max_size=200))
def test_no_bytes_are_a_fault_of_the_reader(data: bytes) -> None:
    for raw in (data, b"POST / HTTP/1.1\r\n" + data + b"\r\n\r\n", b"GET " + data + b" HTTP/1.1\r\n\r\n"):
        head = Head()
        try:
            read_head(raw, head)
        except ApiError as error:
            assert error.status == 400  # noqa: PT017 - either is right
        else:
            assert isinstance(head.path, bytes)
            assert head.length is None or head.length >= 0


async def test_the_same_connection_serves_on_after_a_stream(queue: Queue, client: RawClient) -> None:
    async with V1Worker(queue.worker_url, "m", credit=2) as worker:
        for _ in range(2):
            client.post(CHAT | {"stream": True})
            job = await worker.expect(wire.Job)
            await worker.pieces((job.job, chunk("x")), (job.job, DONE))
            await worker.result(job)
            assert (await client.response()).body == chunk("x") + DONE
    await eventually(lambda: queue.metric("headrace_queue_requests_total", model="m", status="200") == 2)
