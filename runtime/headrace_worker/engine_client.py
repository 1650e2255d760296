"""Sends requests to the engine over loopback and passes its answers on as bytes."""

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from headrace_api.wire import Usage
from headrace_api.worker_config import Generation
from headrace_worker import health
from headrace_worker.adapters.routes import Routes
from headrace_worker.engines import generate_kwargs, prompt_formats
from headrace_worker.engines.protocol import CHAT_PATH, COMPLETIONS_PATH, AdapterDialect, Call, EngineApi, text_api
from headrace_worker.sse import UsageTap, usage_of
from headrace_worker.transports.http import Http
from headrace_worker.transports.protocol import Answer, EngineLostError, Transport

_GENERATES = (CHAT_PATH, COMPLETIONS_PATH)
"""The paths whose requests have generation parameters."""

Emit = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True)
class Outcome:
    """How a request ended: `body` only where nothing was emitted."""

    status: int
    usage: Usage | None = None
    body: dict[str, Any] | None = None


def error_body(message: str, code: str) -> dict[str, Any]:
    """An error as OpenAI writes it."""
    return {"error": {"message": message, "type": code, "param": None, "code": code}}


@dataclass(frozen=True)
class Dialect:
    """What makes a client's request one for this engine and this model."""

    served_name: str
    defaults: Mapping[str, list[Any]] = field(default_factory=dict)
    """See `Engine.request_defaults`."""
    generation: Generation = field(default_factory=Generation)
    api: EngineApi = field(default_factory=text_api)
    routes: Routes | None = None
    """The model and its adapters; the model alone when None."""


class EngineClient:
    """Requests to one engine that serves one model."""

    def __init__(
        self, session: aiohttp.ClientSession, base_url: str, dialect: Dialect, transport: Transport | None = None
    ) -> None:
        self._session = session
        self._base_url = base_url
        self._transport = transport or Http(session, base_url)
        self._served_name = dialect.served_name
        self._defaults = dialect.defaults
        self._generation = dialect.generation
        self._api = dialect.api
        self.routes = dialect.routes or Routes(dialect.served_name)
        self.heard_at = 0.0
        """When anything last came from the engine in answer to a request, on the monotonic clock."""

    async def healthy(self) -> bool:
        """Ask the engine's `/health` once."""
        return await health.answers(self._session, self._base_url)

    @property
    def adapters(self) -> AdapterDialect | None:
        """How it is told of adapters while it runs; None where it cannot be."""
        return self._api.adapters

    @property
    def continues(self) -> bool:
        """Whether it can say the rest of an answer; a prompt format of RayLLM has no place for a beginning."""
        return self._api.continues and self._generation.prompt_format is None

    def serves(self, request: Mapping[str, Any]) -> bool:
        """Whether this is a request for the model, or for an adapter that it has now."""
        return self.routes.fields(request.get("model")) is not None

    async def call(self, call: Call) -> tuple[int, str]:
        """Ask for something that is no request of a client's; the status and the answer's text.

        Raises:
            EngineLostError: the engine's connection broke.
        """
        try:
            async with self._session.request(call.method, self._base_url + call.path, json=call.body) as response:
                return response.status, await response.text(errors="replace")
        except (aiohttp.ClientError, ConnectionError, TimeoutError) as error:
            raise EngineLostError(f"{type(error).__name__}: {error}") from error

    async def metrics(self, path: str, prefix: str | tuple[str, ...]) -> str | None:
        """See `health.metrics`."""
        return await health.metrics(self._session, self._base_url + path, prefix)

    async def run(self, path: str, request: Mapping[str, Any], emit: Emit) -> Outcome:
        """Do a request and emit the answer's bytes as they come; an error answer is in the outcome instead.

        Raises:
            EngineLostError: the engine's connection broke, perhaps after bytes were emitted.
        """
        if path not in self._api.paths:
            message = f"this worker does not serve {path!r}; it serves: {', '.join(self._api.paths)}"
            return Outcome(404, body=error_body(message, "not_found"))
        if not self.serves(request):
            return Outcome(404, body=error_body(f"this worker has no model {request['model']!r}", "model_not_found"))
        prompt_format = self._generation.prompt_format
        if path == CHAT_PATH and prompt_format is not None:
            try:
                request = prompt_formats.formatted(prompt_format, request)
            except ValueError as error:
                return Outcome(400, body=error_body(str(error), "invalid_request_error"))
        return await self._ask(path, request, emit)

    async def _ask(self, path: str, request: Mapping[str, Any], emit: Emit) -> Outcome:
        body = self.prepared(path, request)
        async with self._transport.ask(path, json.dumps(body).encode()) as answer:
            received = self._received(answer)
            if answer.status != 200:
                return Outcome(answer.status, body=_error_of(await _whole(received), answer.status))
            if body.get("stream") is True:
                return await _pass_on(received, UsageTap(keep_usage=_wants_usage(request)), emit)
            return await _pass_whole(received, emit)

    async def _received(self, answer: Answer) -> AsyncIterator[bytes]:
        async for data in answer.received():
            self.heard_at = time.monotonic()
            yield data

    async def complete(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Do one chat completion without streaming: the response object, or an error object.

        Raises:
            EngineLostError: as in `run`.
        """
        pieces: list[bytes] = []

        async def collect(data: bytes) -> None:
            pieces.append(data)

        whole = {key: value for key, value in request.items() if key not in {"stream", "stream_options"}}
        outcome = await self.run(CHAT_PATH, whole, collect)
        return (
            outcome.body or _object(b"".join(pieces)) or error_body("the engine's answer is not JSON", "engine_error")
        )

    def prepared(self, path: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """The request as the engine gets it: its own names, default stops first, usage asked for in streams."""
        renamed = self._api.renamed.get(path, {})
        body = {renamed.get(name, name): value for name, value in request.items()} | {"model": self._served_name}
        body |= self.routes.fields(request.get("model")) or {}
        return self._generating(body) if path in _GENERATES else body

    def _generating(self, request: Mapping[str, Any]) -> dict[str, Any]:
        body = generate_kwargs.merged(self._generation.generate_kwargs, request)
        for key, values in self._defaults.items():
            given = body.get(key)
            body[key] = [*values, *(given if isinstance(given, list) else [] if given is None else [given])]
        if body.get("stream") is True:
            options = body.get("stream_options")
            body["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}
        return body


def _wants_usage(request: Mapping[str, Any]) -> bool:
    options = request.get("stream_options")
    return isinstance(options, dict) and bool(options.get("include_usage"))


async def _whole(received: AsyncIterator[bytes]) -> bytes:
    return b"".join([data async for data in received])


async def _pass_on(received: AsyncIterator[bytes], tap: UsageTap, emit: Emit) -> Outcome:
    async for data in received:
        if passed := tap.feed(data):
            await emit(passed)
    if rest := tap.finish():
        await emit(rest)
    if tap.usage is None:
        # Usage was asked for and ends every complete stream. vLLM ends the stream of a request that failed in the
        # middle, or whose engine core has died, as if it were complete, after an event that carries the error.
        return Outcome(502, body=error_body("the engine broke the response off", "response_broken_off"))
    return Outcome(200, tap.usage)


async def _pass_whole(received: AsyncIterator[bytes], emit: Emit) -> Outcome:
    data = await _whole(received)
    await emit(data)
    return Outcome(200, usage_of(data))


def _object(data: bytes) -> dict[str, Any] | None:
    try:
        body = json.loads(data)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _error_of(data: bytes, status: int) -> dict[str, Any]:
    body = _object(data)
    if body and "error" in body:
        return body
    text = data[:2000].decode(errors="replace")
    return error_body(f"the engine answered {status}: {text}", "engine_error")
