"""An engine whose timing a test decides, for what cannot be timed with a real one; real ones: test_llamacpp_worker."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web

from tests.serving import served

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
CHUNKS = [
    b'data: {"choices":[{"delta":{"content":"one \\"usage\\":{ "}}]}\n\n',
    b'data: {"choices":[{"delta":{"content":"two"}}],"usage":null}\n\n',
]
USAGE_CHUNK = f'data: {{"choices":[],"usage":{json.dumps(USAGE)}}}\n\n'.encode()
ERROR_CHUNK = b'data: {"error":{"message":"EngineCore encountered an issue","code":500}}\n\n'
REFUSAL_CHUNK = b'data: {"error":{"message":"no such thing","type":"BadRequestError","code":400}}\n\n'
ERRORS = {"broken": [CHUNKS[0], ERROR_CHUNK], "broken at once": [ERROR_CHUNK], "refused": [CHUNKS[0], REFUSAL_CHUNK]}
"""Streams that end with an error, as vLLM writes it."""
FAILURE = b'{"error": {"message": "EngineCore encountered an issue", "code": 500}}'
DONE = b"data: [DONE]\n\n"
HUGE = b'{"pad":"' + b"x" * (9 << 20) + b'"}'


def tokenized(body: dict[str, Any]) -> dict[str, Any]:
    """As the engines' tokenizer would: a token for each letter of a prompt or of a chat's first message.

    A prompt is called `content`, too, as llama.cpp has it.
    """
    text = body.get("prompt") or body.get("content") or body["messages"][0]["content"]
    return {"error": {}} if text == "bad" else {"tokens": list(text.encode())}


class ScriptedEngine:
    """A request's first message says how it is answered.

    It is `quick`, `held`, `held back`, `huge`, `bad`, `failing`, or one of `ERRORS`.
    """

    multiplexed = False

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.go_on = asyncio.Event()
        self.left = asyncio.Event()
        self.url = ""
        self.healthy = True
        self.health_checks = 0
        self.transports: list[asyncio.Transport] = []

    def die(self) -> None:
        """Break all connections, as the kernel does for a killed process."""
        for transport in self.transports:
            transport.abort()

    def told(self, content: str) -> str:
        """How a request is answered."""
        return content

    async def health(self, _request: web.Request) -> web.Response:
        self.health_checks += 1
        return web.Response(status=200 if self.healthy else 503)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.requests.append(body)
        if request.transport:
            self.transports.append(request.transport)
        content = self.told(body["messages"][0]["content"])
        try:
            if content == "bad":
                return web.json_response({"error": {"message": "context too long", "code": 400}}, status=400)
            if content == "failing":
                return web.Response(body=FAILURE, status=500)
            if content == "huge":
                return web.Response(body=HUGE)
            if content == "held back":
                await self.go_on.wait()
            if body.get("stream"):
                return await self.stream(request, content)
        except asyncio.CancelledError:
            self.left.set()
            raise
        return web.json_response({"choices": [{"message": {"content": content}, "index": 0}], "usage": USAGE})

    async def stream(self, request: web.Request, content: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for data in ERRORS.get(content) or CHUNKS[:1]:
            await response.write(data)
        if content == "held":
            await self.go_on.wait()
        for data in [] if content in ERRORS else [CHUNKS[1], USAGE_CHUNK]:
            await response.write(data)
        await response.write(DONE)
        return response

    async def template(self, request: web.Request) -> web.Response:
        body = await request.json()
        if body["messages"] == []:
            return web.json_response({"error": {"message": "no messages"}}, status=400)
        return web.json_response({"prompt": "".join(f"<{one['content']}>" for one in body["messages"])})

    async def tokenize(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.requests.append(body)
        if body.get("prompt") == "held":
            await self.go_on.wait()
        return web.json_response(tokenized(body))

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator["ScriptedEngine"]:
        app = web.Application()
        app.router.add_post("/template", self.template)
        app.router.add_post("/tokenize", self.tokenize)
        app.router.add_get("/health", self.health)
        app.router.add_post("/v1/chat/completions", self.answer)
        app.router.add_post("/v1/completions", self.answer)
        async with served(app, handler_cancellation=True) as port:
            self.url = f"http://127.0.0.1:{port}"
            yield self
