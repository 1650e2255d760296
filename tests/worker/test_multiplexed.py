"""Many requests over one WebSocket to an ASGI application, in a real uvicorn."""

import ast
import asyncio
import contextlib
import struct
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from structlog.testing import capture_logs

from headrace_worker.engine_process import environment_of
from headrace_worker.engines.in_vllm import headrace_multiplexer as multiplexer
from headrace_worker.engines.in_vllm.headrace_multiplexer import HEADER, LARGEST_PIECE, WINDOW, Multiplexer, pieces_of
from headrace_worker.engines.protocol import EngineCommand, text_api
from headrace_worker.transports import choice
from headrace_worker.transports.http import Http
from headrace_worker.transports.multiplexed import Multiplexed
from headrace_worker.transports.protocol import EngineLostError, Transport
from tests.waiting import until
from tests.worker.asgi_engine import Served, begin, body_of, finish, go_on, serving

Handler = Callable[["App", bytes, Any, Any], Awaitable[None]]
STREAMS, TOKENS = 64, 100
HUGE = bytes(range(256)) * 40_000
PATIENCE_S = 15
MULTIPLEXED_API = replace(text_api(), multiplexed=True)


class App:
    """Answers each path in its own way; notes what it sees."""

    def __init__(self) -> None:
        self.scopes: list[dict[str, Any]] = []
        self.sent = 0
        self.left = 0
        self.go_on = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        if scope["type"] != "http" or scope["path"] not in HANDLERS:
            await begin(send, 404)
            await finish(send, b"no such path")
            return
        await HANDLERS[scope["path"]](self, await body_of(receive), receive, send)

    async def echo(self, body: bytes, _receive: Any, send: Any) -> None:
        await begin(send, 200)
        await finish(send, body)

    async def wrong(self, _body: bytes, _receive: Any, _send: Any) -> None:
        raise RuntimeError("nothing works")

    async def half(self, _body: bytes, _receive: Any, send: Any) -> None:
        await begin(send, 200)
        await go_on(send, b"half")
        raise RuntimeError("nothing works any more")

    async def unfinished(self, _body: bytes, _receive: Any, send: Any) -> None:
        await begin(send, 200)
        await go_on(send, b"half")

    async def tokens(self, body: bytes, _receive: Any, send: Any) -> None:
        await begin(send, 200)
        for number in range(TOKENS):
            await go_on(send, b"%s-%d " % (body, number))
            await asyncio.sleep(0)
        await finish(send)

    async def huge(self, _body: bytes, _receive: Any, send: Any) -> None:
        await begin(send, 200)
        for start in range(0, len(HUGE), 1000):
            await go_on(send, HUGE[start : start + 1000])
            self.sent = start + 1000
        await finish(send)

    async def held(self, _body: bytes, receive: Any, send: Any) -> None:
        await begin(send, 200)
        await go_on(send, b"begun")
        assert (await receive())["type"] == "http.disconnect"
        self.left += 1
        await go_on(send, b"too late")
        await finish(send)

    async def silent(self, _body: bytes, receive: Any, _send: Any) -> None:
        assert (await receive())["type"] == "http.disconnect"
        self.left += 1


HANDLERS: dict[str, Handler] = {
    "/health": App.echo,
    "/echo": App.echo,
    "/wrong": App.wrong,
    "/half": App.half,
    "/unfinished": App.unfinished,
    "/tokens": App.tokens,
    "/huge": App.huge,
    "/held": App.held,
    "/silent": App.silent,
}


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
async def served(app: App) -> AsyncIterator[Served]:
    async with serving(Multiplexer(app)) as served:
        yield served


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def transport(served: Served, session: aiohttp.ClientSession) -> AsyncIterator[Multiplexed]:
    transport = Multiplexed(session, served.url)
    yield transport
    await transport.close()


async def whole(transport: Transport, path: str, body: bytes = b"") -> tuple[int, bytes]:
    async with asyncio.timeout(PATIENCE_S), transport.ask(path, body) as answer:
        return answer.status, b"".join([data async for data in answer.received()])


async def test_the_application_sees_what_it_sees_by_http(app: App, served: Served, transport: Multiplexed) -> None:
    assert await whole(transport, "/echo", b'{"a": 1}\n') == (200, b'{"a": 1}\n')
    assert await whole(Http(served.url), "/echo", b'{"a": 1}\n') == (200, b'{"a": 1}\n')
    ours, theirs = app.scopes
    assert not theirs.keys() - ours.keys()
    for key in ("type", "http_version", "method", "scheme", "path", "raw_path", "query_string", "root_path", "server"):
        assert ours[key] == theirs[key], key
    assert set(ours["headers"]) < set(theirs["headers"])
    assert {name for name, _ in ours["headers"]} == {b"host", b"content-type", b"content-length"}


async def test_statuses_that_are_errors_come_through(transport: Multiplexed) -> None:
    assert await whole(transport, "/nowhere") == (404, b"no such path")


async def test_everything_else_passes_by_the_multiplexer(served: Served, session: aiohttp.ClientSession) -> None:
    assert await whole(Http(served.url), "/nowhere") == (404, b"no such path")
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await session.ws_connect(served.url + "/elsewhere")


async def before_it_broke(transport: Transport, path: str) -> list[bytes]:
    pieces = []
    try:
        async with asyncio.timeout(PATIENCE_S), transport.ask(path, b"") as answer:
            async for data in answer.received():
                pieces.append(data)  # noqa: PERF401 (what came before the error counts)
    except EngineLostError:
        return pieces
    raise AssertionError(f"{path} ended well")


async def test_an_application_that_fails_breaks_its_own_request_only(transport: Multiplexed) -> None:
    async with transport.ask("/held", b"") as held:
        assert await before_it_broke(transport, "/wrong") == []
        assert await before_it_broke(transport, "/half") == [b"half"]
        assert await before_it_broke(transport, "/unfinished") == [b"half"]
        assert await anext(held.received()) == b"begun"


async def test_the_outermost_layer_turns_errors_into_answers(app: App, session: aiohttp.ClientSession) -> None:
    class Outermost:
        """As Starlette's, which names itself in the scope."""

        def __init__(self) -> None:
            self.inner = Multiplexer(app)

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            scope["app"] = self
            try:
                await self.inner(scope, receive, send)
            except RuntimeError as error:
                await begin(send, 500)
                await finish(send, str(error).encode())
                raise

    async with serving(Outermost()) as served:
        transport = Multiplexed(session, served.url)
        assert await whole(transport, "/wrong") == (500, b"nothing works")
        await transport.close()


async def test_pieces_are_whole_in_order_and_share_frames(
    transport: Multiplexed, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames: list[int] = []

    def counted(frame: bytes) -> list[tuple[int, int, bytes]]:
        frames.append(len(frame))
        return list(pieces_of(frame))

    monkeypatch.setattr("headrace_worker.transports.multiplexed.pieces_of", counted)
    answers = await asyncio.gather(*(whole(transport, "/tokens", b"%d" % number) for number in range(STREAMS)))
    for number, answer in enumerate(answers):
        assert answer == (200, b"".join(b"%d-%d " % (number, token) for token in range(TOKENS)))
    assert len(frames) < STREAMS * TOKENS / 8


async def test_leaving_tells_the_application_at_once(app: App, transport: Multiplexed) -> None:
    async with transport.ask("/held", b"") as answer:
        assert await anext(answer.received()) == b"begun"
    await until(lambda: app.left == 1, 1)
    asking = asyncio.create_task(whole(transport, "/silent"))
    await until(lambda: len(app.scopes) == 2, 1)
    asking.cancel()
    await until(lambda: app.left == 2, 1)
    assert await whole(transport, "/echo", b"on") == (200, b"on")


async def test_a_slow_reader_holds_up_its_own_request_and_no_other(app: App, transport: Multiplexed) -> None:
    async with transport.ask("/huge", b"") as answer:
        await until(lambda: app.sent > WINDOW - LARGEST_PIECE, PATIENCE_S)
        for _ in range(20):
            assert await whole(transport, "/echo", b"quick") == (200, b"quick")
        assert app.sent <= WINDOW + LARGEST_PIECE
        assert b"".join([data async for data in answer.received()]) == HUGE


async def test_a_reader_who_leaves_frees_a_sender_who_waits(app: App, transport: Multiplexed) -> None:
    async with transport.ask("/huge", b""):
        await until(lambda: app.sent > WINDOW - LARGEST_PIECE, PATIENCE_S)
    await until(lambda: app.sent == len(HUGE), PATIENCE_S)


async def test_answers_in_one_piece_may_be_large(transport: Multiplexed) -> None:
    body = HUGE[: 3 << 20]
    assert await whole(transport, "/echo", body) == (200, body)


async def test_very_large_requests_go_by_http(app: App, transport: Multiplexed) -> None:
    assert await whole(transport, "/echo", HUGE) == (200, HUGE)
    assert b"user-agent" in dict(app.scopes[0]["headers"])


async def test_connections_do_not_know_of_each_other(
    app: App, served: Served, session: aiohttp.ClientSession, transport: Multiplexed
) -> None:
    other = Multiplexed(session, served.url)
    async with contextlib.AsyncExitStack() as stack:
        mine = await stack.enter_async_context(transport.ask("/held", b""))
        theirs = await stack.enter_async_context(other.ask("/held", b""))
        await other.close()
        await until(lambda: app.left == 1, 1)
        with pytest.raises(EngineLostError):
            assert [data async for data in theirs.received()] == [b"begun"]
        assert await anext(mine.received()) == b"begun"
        assert await whole(transport, "/echo", b"on") == (200, b"on")
    await until(lambda: app.left == 2, 1)


async def test_a_connection_that_breaks_loses_its_requests_and_is_made_anew(
    app: App, served: Served, transport: Multiplexed
) -> None:
    async with transport.ask("/held", b"") as answer:
        silent = asyncio.create_task(whole(transport, "/silent"))
        await until(lambda: len(app.scopes) == 2, 1)
        served.die()
        with pytest.raises(EngineLostError):
            await silent
        with pytest.raises(EngineLostError):
            assert [data async for data in answer.received()] == [b"begun"]
    await until(lambda: app.left == 2, 1)
    assert await whole(transport, "/echo", b"again") == (200, b"again")


async def test_an_engine_that_is_gone_is_lost(session: aiohttp.ClientSession, app: App) -> None:
    async with serving(Multiplexer(app)) as served:
        url = served.url
    transport = Multiplexed(session, url)
    with pytest.raises(EngineLostError, match="Cannot connect"):
        await whole(transport, "/echo")
    await transport.close()


async def test_an_engine_without_the_path_is_asked_by_http(session: aiohttp.ClientSession, app: App) -> None:
    async with serving(app) as served:
        with capture_logs() as logs:
            chosen = await choice.opened(session, served.url, MULTIPLEXED_API)
        assert isinstance(chosen, Http)
        assert [entry["log_level"] for entry in logs] == ["warning"]
        assert await whole(chosen, "/echo", b"as ever") == (200, b"as ever")


async def test_the_path_is_used_where_the_engine_was_started_with_it(
    session: aiohttp.ClientSession, served: Served
) -> None:
    with capture_logs() as logs:
        chosen = await choice.opened(session, served.url, MULTIPLEXED_API)
        assert isinstance(await choice.opened(session, served.url, text_api()), Http)
    assert isinstance(chosen, Multiplexed)
    assert not logs
    await chosen.close()


async def test_a_path_that_opens_and_does_not_work_is_not_used(session: aiohttp.ClientSession) -> None:
    async def sick(_scope: Any, receive: Any, send: Any) -> None:
        await body_of(receive)
        await begin(send, 500)
        await finish(send)

    async with serving(Multiplexer(sick)) as served:
        with capture_logs() as logs:
            chosen = await choice.opened(session, served.url, MULTIPLEXED_API)
    assert isinstance(chosen, Http)
    assert "answers /health with 500" in logs[0]["reason"]


def test_a_frame_that_ends_early_is_refused() -> None:
    with pytest.raises(struct.error):
        list(pieces_of(HEADER.pack(1, 2, 0)[:-1]))


def test_vllms_interpreter_needs_nothing_but_its_standard_library() -> None:
    path = Path(multiplexer.__file__)
    assert {one.name for one in path.parent.glob("*.py")} == {path.name, "__init__.py"}
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names


def test_its_folder_comes_last_on_the_engines_path() -> None:
    command = EngineCommand(["x"], {"PYTHONPATH": "/packages"}, python_path="/ours")
    assert environment_of(command, {"PYTHONPATH": "/own", "A": "b"}) == {"PYTHONPATH": "/packages:/ours", "A": "b"}
    assert environment_of(EngineCommand(["x"], python_path="/ours"), {})["PYTHONPATH"] == "/ours"
    assert environment_of(EngineCommand(["x"]), {"A": "b"}) == {"A": "b"}
