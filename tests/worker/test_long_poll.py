"""A real worker's pulling half and a real queue, with a proxy between them that lets no WebSocket through."""

import asyncio
import contextlib
import io
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from headrace_api.pieces import encode_pieces
from headrace_api.wire_poll import BINARY, TEXT, PollEnd, PollSession, decode_frames, encode_frames
from headrace_queue import worker_poll
from headrace_queue.app import QueueServer
from headrace_queue.logs import make_logger
from headrace_queue.poll_pipe import Pipe
from headrace_queue.settings import Settings
from headrace_worker.queue_poll import poll_url
from tests.serving import served
from tests.waiting import until
from tests.worker.conftest import Pulling
from tests.worker.scripted_engine import CHUNKS, DONE, ScriptedEngine

Start = Callable[..., AbstractAsyncContextManager[Pulling]]
REGISTER = b'{"type":"register","worker":"w","models":["m"],"fingerprint":"f","cpu_count":1,"disk_space":1,"vram":0}'


@dataclass
class Proxy:
    """Passes plain requests on, one by one; `lose` says of which the answer gets lost."""

    queue_port: int
    lose: Callable[[str], bool] = lambda _path: False
    seen: list[str] = field(default_factory=list)
    url: str = ""

    async def handle(self, request: web.Request) -> web.Response:
        self.seen.append(request.path)
        if "Upgrade" in request.headers:
            return web.Response(status=426)
        target = f"http://127.0.0.1:{self.queue_port}{request.path}"
        headers = {name: value for name, value in request.headers.items() if name == "Authorization"}
        async with (
            aiohttp.ClientSession() as http,
            http.request(request.method, target, data=await request.read(), headers=headers) as answer,
        ):
            body = await answer.read()
        if self.lose(request.path) and request.transport:
            request.transport.abort()
        return web.Response(status=answer.status, body=body)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator["Proxy"]:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.handle)
        async with served(app, handler_cancellation=True) as port:
            self.url = f"http://127.0.0.1:{port}"
            yield self


@pytest.fixture
async def server(tmp_path: Any) -> AsyncIterator[QueueServer]:
    settings = Settings(
        host="127.0.0.1", port=0, admin_port=0, drain_seconds=1, data_folder=tmp_path, models=("public-name",)
    )
    async with QueueServer(settings, CollectorRegistry(), make_logger("INFO", io.StringIO())) as server:
        yield server


@pytest.fixture
async def proxy(server: QueueServer) -> AsyncIterator[Proxy]:
    async with Proxy(server.port).serving() as proxy:
        yield proxy


async def ask(server: QueueServer, content: str, **more: Any) -> bytes:
    body = {"model": "public-name", "messages": [{"role": "user", "content": content}], **more}
    url = f"http://127.0.0.1:{server.port}/v1/chat/completions"
    async with aiohttp.ClientSession() as http, http.post(url, json=body) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.read()


async def test_jobs_are_done_where_no_websocket_comes_through(
    server: QueueServer, proxy: Proxy, pulling: Start
) -> None:
    async with pulling(proxy.url, slots=3) as worker:
        whole = json.loads(await ask(server, "quick"))
        assert whole["choices"][0]["message"]["content"] == "quick"
        assert await ask(server, "quick", stream=True) == b"".join(CHUNKS) + DONE
        answers = await asyncio.gather(*(ask(server, f"quick {number}") for number in range(20)))
        assert len(answers) == 20
        assert worker.registered == [True]
        await worker.puller.drain("done", 5)
        await until(lambda: not server.dispatcher.schedule.free("public-name"))
    assert proxy.seen[:2] == ["/worker", "/worker/poll"]


@pytest.mark.slow
async def test_a_lost_answer_loses_and_doubles_nothing(server: QueueServer, proxy: Proxy, pulling: Start) -> None:
    counted = {"send": 0, "fetch": 0}

    def lose(path: str) -> bool:
        kind = path.split("/")[-2] if path.count("/") > 3 else ""
        if kind in counted:
            counted[kind] += 1
            return counted[kind] % 3 == 0
        return False

    proxy.lose = lose
    async with pulling(proxy.url, slots=2):
        for number in range(6):
            streamed = await ask(server, "quick", stream=True)
            assert streamed == b"".join(CHUNKS) + DONE, number
    assert max(counted.values()) > 6
    assert len(proxy.seen) > len(set(proxy.seen))  # some were asked for again


async def test_a_cancelled_request_reaches_the_engine(
    server: QueueServer, proxy: Proxy, engine: ScriptedEngine, pulling: Start
) -> None:
    async with pulling(proxy.url):
        asking = asyncio.create_task(ask(server, "held", stream=True))
        await until(lambda: engine.requests)
        asking.cancel()
        await asyncio.wait_for(engine.left.wait(), 5)


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("send/2", b"", 409, "the next number is 1"),
        ("fetch/7", b"", 409, "the next number is 1"),
        ("send/1", b"\x01\x00", 400, "within a frame's header"),
        ("send/1", b"\x09\x00\x00\x00\x00", 400, "of kind 9"),
        ("send/1", encode_frames([(TEXT, REGISTER), (TEXT, b"\xff")]), 400, "utf-8"),
    ],
)
async def test_wrong_requests_are_refused(server: QueueServer, path: str, body: bytes, status: int, words: str) -> None:
    url = f"http://127.0.0.1:{server.port}/worker/poll"
    async with aiohttp.ClientSession() as http:
        async with http.post(url) as opened:
            session = PollSession.model_validate_json(await opened.read()).session
        async with http.post(f"{url}/{session}/{path}", data=body) as answer:
            assert (answer.status, words in await answer.text()) == (status, True)
        async with http.post(f"{url}/{session}/send/1", data=encode_frames([(TEXT, REGISTER)])) as answer:
            assert answer.status == 204


async def test_a_body_is_bounded_as_a_frame_and_not_as_a_request(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(host="127.0.0.1", port=0, admin_port=0, data_folder=tmp_path, max_request_bytes=2**20)
    async with (
        QueueServer(settings, CollectorRegistry(), make_logger("INFO", io.StringIO())) as server,
        aiohttp.ClientSession() as http,
    ):
        url = f"http://127.0.0.1:{server.port}/worker/poll"
        async with http.post(url) as opened:
            session = PollSession.model_validate_json(await opened.read()).session
        body = encode_frames([(TEXT, REGISTER), (BINARY, encode_pieces([(1, bytes(2**21))]))])
        async with http.post(f"{url}/{session}/send/1", data=io.BytesIO(body)) as answer:
            assert answer.status == 204, await answer.text()
        monkeypatch.setattr(worker_poll, "MAX_FRAME_BYTES", 2**21)
        async with http.post(f"{url}/{session}/send/2", data=io.BytesIO(body)) as answer:
            assert answer.status == 413


async def test_a_refused_body_changes_nothing() -> None:
    pipe = Pipe()
    with pytest.raises(ValueError, match="utf-8"):
        pipe.push(1, encode_frames([(TEXT, b"{}"), (TEXT, b"\xff")]))
    pipe.push(1, encode_frames([(TEXT, b"[]")]))
    assert (await pipe.receive()).data == "[]"
    assert pipe._in.empty()


async def test_a_session_says_why_it_ended(server: QueueServer) -> None:
    url = f"http://127.0.0.1:{server.port}/worker/poll"
    async with aiohttp.ClientSession() as http:
        async with http.post(f"{url}/unknown/fetch/1") as answer:
            assert answer.status == 410
        async with http.post(url) as opened:
            session = PollSession.model_validate_json(await opened.read()).session
        frames = encode_frames([(TEXT, REGISTER), (TEXT, b"nonsense")])
        for _ in range(2):  # the second time changes nothing
            async with http.post(f"{url}/{session}/send/1", data=frames) as answer:
                assert answer.status in {204, 410}
        async with http.post(f"{url}/{session}/fetch/1") as answer:
            body = await answer.read()
            if answer.status == 200:
                assert b"registered" in body
                async with http.post(f"{url}/{session}/fetch/2") as last:
                    assert last.status == 410
                    body = await last.read()
        end = PollEnd.model_validate_json(body)
        assert (end.code, "JSON" in end.reason) == (1002, True)


async def test_a_token_is_needed(server: QueueServer) -> None:
    server._door._tokens._anonymous = False
    url = f"http://127.0.0.1:{server.port}/worker/poll"
    async with aiohttp.ClientSession() as http, http.post(url) as answer:
        assert answer.status == 401


def test_frames_come_back_as_they_were() -> None:
    frames = [(TEXT, b"{}"), (BINARY, bytes(range(256))), (TEXT, b"")]
    assert list(decode_frames(encode_frames(frames))) == frames


@pytest.mark.parametrize("url", ["ws://q:1/worker", "ws://q:1/worker/"])
def test_the_address(url: str) -> None:
    assert poll_url(url) == "http://q:1/worker/poll"
