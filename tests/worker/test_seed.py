"""The seed's protocol: our worker in a Spider that knows only the document."""

import asyncio
import base64
import contextlib
import hashlib
import json
import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import aiohttp
import pytest
from websockets.asyncio.server import ServerConnection, serve

from headrace_api.wire import Registration
from headrace_worker import puller, seed
from tests.waiting import until
from tests.worker.conftest import Pulling
from tests.worker.scripted_engine import USAGE, ScriptedEngine
from tests.worker.seed_spider import Spider, url

Start = Callable[..., AbstractAsyncContextManager[Pulling]]
PING = 0x89
"""The first byte of a WebSocket ping."""


async def test_a_spider_is_served(engine: ScriptedEngine, pulling: Start) -> None:
    spider = Spider()
    async with serve(spider.accept, "127.0.0.1", 0) as server, pulling(url(server)) as worker:
        connection, registration = await spider.workers.get()
        assert set(registration) == set(Registration.model_fields)
        assert registration["cpu_count"] == 8
        for content in ("quick", "again"):
            answer = await spider.ask(connection, content)
            assert answer["choices"][0]["message"]["content"] == content
            assert answer["usage"] == USAGE
        assert engine.requests[0]["model"] == "public-name"
        assert worker.registered == [True]


async def test_a_stream_is_one_message_for_each_event_and_an_empty_object(pulling: Start) -> None:
    spider = Spider()
    async with serve(spider.accept, "127.0.0.1", 0) as server, pulling(url(server)):
        connection, _ = await spider.workers.get()
        for _ in range(2):
            first = await spider.ask(connection, "quick", stream=True)
            second, last, end = [json.loads(await connection.recv()) for _ in range(3)]
            assert [each["choices"][0]["delta"]["content"][:3] for each in (first, second)] == ["one", "two"]
            assert (last["usage"], end) == (USAGE, {})
        assert (await spider.ask(connection, "bad", stream=True))["error_type"] == "server_error"
        assert (await spider.ask(connection, "quick"))["choices"]


async def test_errors_are_answers_too(pulling: Start) -> None:
    spider = Spider()
    async with serve(spider.accept, "127.0.0.1", 0) as server, pulling(url(server)):
        connection, _ = await spider.workers.get()
        assert (await spider.ask(connection, "bad"))["error"]["message"] == "context too long"
        await connection.send("{}")
        assert "openai_req" in str(await connection.recv())


async def test_the_request_under_way_is_finished_before_leaving(engine: ScriptedEngine, pulling: Start) -> None:
    spider = Spider()
    async with serve(spider.accept, "127.0.0.1", 0) as server, pulling(url(server)) as worker:
        connection, _ = await spider.workers.get()
        asking = asyncio.create_task(spider.ask(connection, "held back"))
        await until(lambda: engine.requests)
        draining = asyncio.create_task(worker.puller.drain("stopping", 10))
        await asyncio.sleep(0.05)
        engine.go_on.set()
        assert (await asking)["usage"] == USAGE
        await draining
        await asyncio.wait_for(worker.task, 1)


async def test_a_spider_that_leaves_frees_the_engine(engine: ScriptedEngine, pulling: Start) -> None:
    spider = Spider()
    async with serve(spider.accept, "127.0.0.1", 0) as server, pulling(url(server)):
        connection, _ = await spider.workers.get()
        asking = asyncio.create_task(spider.ask(connection, "held back"))
        await until(lambda: engine.requests)
        await connection.close()
        await asyncio.wait_for(engine.left.wait(), 5)
        with contextlib.suppress(Exception):
            await asking
        await asyncio.wait_for(spider.workers.get(), 5)


async def test_requests_may_be_binary_frames(pulling: Start) -> None:
    spider = Spider()
    async with serve(spider.accept, "127.0.0.1", 0) as server, pulling(url(server)):
        connection, _ = await spider.workers.get()
        request = {"openai_req": {"messages": [{"role": "user", "content": "quick"}]}}
        await connection.send(json.dumps(request).encode())
        assert json.loads(await connection.recv())["usage"] == USAGE
        await connection.send(b"\xff")
        assert "not a request" in str(await connection.recv())


async def test_a_spider_that_takes_the_subprotocol_is_asked_again_without(pulling: Start) -> None:
    offers = []

    async def echo(worker: ServerConnection) -> None:
        offers.append(worker.subprotocol)
        await spider.accept(worker)

    spider = Spider()
    serving = serve(echo, "127.0.0.1", 0, select_subprotocol=lambda _, offered: next(iter(offered), None))
    async with serving as server, pulling(url(server)) as worker:
        first, _ = await spider.workers.get()
        await first.send('{"openai_url": "/v1/chat/completion", "openai_req": {"messages": []}}')
        for _ in range(2):
            connection, registration = await asyncio.wait_for(spider.workers.get(), 5)
            assert set(registration) == set(Registration.model_fields)
            assert (await spider.ask(connection, "quick"))["usage"] == USAGE
            await connection.close()
        assert worker.registered.count(True) == 2
    assert offers[:3] == ["headrace.v1", None, None]


async def test_a_spider_that_closes_at_once_is_backed_off_from(pulling: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    failures: list[int] = []

    def delay(count: int, _fast_retries: int, _chance: float) -> float:
        failures.append(count)
        return 0.01

    async def close(worker: ServerConnection) -> None:
        await worker.recv()

    monkeypatch.setattr(puller, "retry_delay", delay)
    async with serve(close, "127.0.0.1", 0) as server, pulling(url(server)) as worker:
        await until(lambda: len(failures) > 3)
    assert failures[:4] == [1, 2, 3, 4]
    assert True not in worker.registered


async def test_a_silent_spider_is_registered_with_once_the_connection_has_lasted(
    pulling: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seed, "_SETTLED_S", 0.05)
    spider = Spider()
    async with serve(spider.accept, "127.0.0.1", 0) as server, pulling(url(server)) as worker:
        await spider.workers.get()
        await until(lambda: worker.registered)
        assert worker.registered == [True]


@pytest.mark.parametrize("subprotocol", [None, "headrace.v1"])
async def test_only_a_headrace_queue_gets_pings(
    pulling: Start, monkeypatch: pytest.MonkeyPatch, subprotocol: str | None
) -> None:
    got: list[bytes] = []

    async def read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        writer.write(switching(request, subprotocol))
        while data := await reader.read(65536):
            got.append(data)
        writer.close()

    monkeypatch.setattr(puller, "_HEARTBEAT_S", 0.1)
    async with await asyncio.start_server(read, "127.0.0.1", 0) as server, pulling(url(server)):
        if subprotocol:
            await until(lambda: PING in {data[0] for data in got})
        else:
            await until(lambda: got)
            await asyncio.sleep(0.3)
            assert len(got) == 1


async def test_a_spider_that_is_gone_is_noticed_by_the_kernel(pulling: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    connections: list[aiohttp.ClientWebSocketResponse] = []
    keep_alive = puller._keep_alive

    def note(connection: aiohttp.ClientWebSocketResponse) -> None:
        keep_alive(connection)
        connections.append(connection)

    monkeypatch.setattr(puller, "_keep_alive", note)
    spider = Spider()
    async with serve(spider.accept, "127.0.0.1", 0) as server, pulling(url(server)):
        await until(lambda: connections)
        tcp = connections[0].get_extra_info("socket")
        assert tcp.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 20


def switching(request: bytes, subprotocol: str | None) -> bytes:
    """The answer to a WebSocket's handshake (RFC 6455)."""
    key = next(line.split()[1] for line in request.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key"))
    accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())  # noqa: S324 (RFC)
    head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    chosen = f"Sec-WebSocket-Protocol: {subprotocol}\r\n".encode() if subprotocol else b""
    return head + b"Sec-WebSocket-Accept: " + accept + b"\r\n" + chosen + b"\r\n"
