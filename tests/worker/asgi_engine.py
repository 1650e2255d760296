"""Engines that are ASGI applications behind uvicorn, as vLLM is, with the multiplexer around them."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import uvicorn

from headrace_worker.engines.in_vllm.headrace_multiplexer import Multiplexer
from tests.waiting import until
from tests.worker.scripted_engine import (
    CHUNKS,
    DONE,
    ERRORS,
    FAILURE,
    HUGE,
    USAGE,
    USAGE_CHUNK,
    ScriptedEngine,
    tokenized,
)


class Served:
    """A running server."""

    def __init__(self, app: Any) -> None:
        self.server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", lifespan="off"))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.servers[0].sockets[0].getsockname()[1]}"

    def die(self) -> None:
        for connection in list(self.server.server_state.connections):
            connection.transport.abort()


@contextlib.asynccontextmanager
async def serving(app: Any) -> AsyncIterator[Served]:
    served = Served(app)
    served.server.config.load()
    served.server.lifespan = served.server.config.lifespan_class(served.server.config)
    await served.server.startup()
    try:
        yield served
    finally:
        served.die()
        await until(lambda: not served.server.server_state.connections)
        await served.server.shutdown()


async def body_of(receive: Any) -> bytes:
    data = b""
    while (message := await receive())["type"] == "http.request":
        data += message["body"]
        if not message.get("more_body"):
            break
    return data


async def begin(send: Any, status: int) -> None:
    await send({"type": "http.response.start", "status": status, "headers": []})


async def go_on(send: Any, data: bytes) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": True})


async def finish(send: Any, data: bytes = b"") -> None:
    await send({"type": "http.response.body", "body": data})


class AsgiEngine(ScriptedEngine):
    """What `ScriptedEngine` does, as an application that is told when its client leaves."""

    multiplexed = True

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/health":
            self.health_checks += 1
            await begin(send, 200 if self.healthy else 503)
            await finish(send)
            return
        body = json.loads(await body_of(receive))
        self.requests.append(body)
        if scope["path"] == "/tokenize":
            await begin(send, 200)
            await finish(send, json.dumps(tokenized(body)).encode())
            return
        answering = asyncio.create_task(self.parts(body, send))
        leaving = asyncio.create_task(receive())
        await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            assert leaving.result()["type"] == "http.disconnect"
            self.left.set()
        for task in (answering, leaving):
            task.cancel()
        await asyncio.gather(answering, leaving, return_exceptions=True)

    async def parts(self, body: dict[str, Any], send: Any) -> None:
        content = body["messages"][0]["content"]
        if content == "held back":
            await self.go_on.wait()
        await begin(send, {"bad": 400, "failing": 500}.get(content, 200))
        if content == "bad":
            await finish(send, b'{"error": {"message": "context too long", "code": 400}}')
        elif content in {"huge", "failing"}:
            await finish(send, HUGE if content == "huge" else FAILURE)
        elif body.get("stream"):
            await self.chunks(content, send)
        else:
            answer = {"choices": [{"message": {"content": content}, "index": 0}], "usage": USAGE}
            await finish(send, json.dumps(answer).encode())

    async def chunks(self, content: str, send: Any) -> None:
        for data in ERRORS.get(content) or CHUNKS[:1]:
            await go_on(send, data)
        if content == "held":
            await self.go_on.wait()
        for data in [DONE] if content in ERRORS else [CHUNKS[1], USAGE_CHUNK, DONE]:
            await go_on(send, data)
        await finish(send)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator["AsgiEngine"]:
        async with serving(Multiplexer(self)) as served:
            self.url = served.url
            self.die = served.die  # type: ignore[method-assign]
            yield self
