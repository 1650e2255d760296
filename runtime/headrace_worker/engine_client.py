"""Sends requests to the engine over loopback and passes its answers on as bytes."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import aiohttp
from pydantic_core import to_json

from headrace_api.worker_config import Generation
from headrace_worker import finite, full, health
from headrace_worker.adapters.routes import Routes
from headrace_worker.answering import Answering, Emit, Ends, Outcome, error_body, json_object, reason_of
from headrace_worker.engines import generate_kwargs, prompt_formats
from headrace_worker.engines.protocol import (
    CHAT_PATH,
    COMPLETIONS_PATH,
    TOKENIZE_PATH,
    AdapterDialect,
    Call,
    Counting,
    EngineApi,
    text_api,
)
from headrace_worker.sse import UsageTap
from headrace_worker.transports.awaited import Pumped, Said
from headrace_worker.transports.http import Http
from headrace_worker.transports.protocol import Answer, Asking, EngineLostError, Transport

_GENERATES = (CHAT_PATH, COMPLETIONS_PATH)
"""The paths whose requests have generation parameters."""
_COUNTING_S = 1.0


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
        self._transport = transport or Http(base_url)
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

    async def prompt_tokens(self, path: str, request: Mapping[str, Any]) -> int:
        """How many tokens the prompt of a request has that was begun; 0 where the engine does not say it soon."""
        counting = self._api.counting
        if counting is None or path not in _GENERATES:
            return 0
        body = self.prepared(path, self._checked(path, request)[1])
        try:
            async with asyncio.timeout(_COUNTING_S):
                if path == CHAT_PATH and counting.template_path:
                    body = {"prompt": (await self._templated(counting, body))[1]["prompt"]}
                if "prompt" not in body:
                    return await self._tokens(body)
                prompts = _prompts(body["prompt"])
                texts = [{"prompt": one, **counting.options} for one in prompts if isinstance(one, str)]
                return sum(len(one) for one in prompts if isinstance(one, list)) + sum(
                    [await self._tokens(text) for text in texts]
                )
        except (EngineLostError, TimeoutError, KeyError, TypeError):
            return 0

    async def _tokens(self, prompt: Mapping[str, Any]) -> int:
        _, text = await self.call(Call(TOKENIZE_PATH, self.prepared(TOKENIZE_PATH, prompt)))
        return len((json_object(text) or {})["tokens"])

    async def metrics(self, path: str, prefix: str | tuple[str, ...]) -> str | None:
        """See `health.metrics`."""
        return await health.metrics(self._session, self._base_url + path, prefix)

    def begin(self, path: str, request: Mapping[str, Any], ends: Ends, said_tokens: int = 0) -> Asking | None:
        """Begin a request, of whose answer so much has been said; `ends` is told of the rest.

        None where it is refused: that has been told then.
        """
        refusal, request = self._checked(path, request)
        if refusal is not None:
            ends.done(refusal)
            return None
        body = self.prepared(path, request)
        left = self._left(path, request, body, said_tokens) if said_tokens else {}
        body |= left
        data = to_json(body, inf_nan_mode="constants")
        if finite.MARK in data and (why := finite.problem(request)):
            ends.done(Outcome(400, body=error_body(why, "invalid_request_error")))
            return None
        tap = UsageTap(keep_usage=_wants_usage(request)) if body.get("stream") is True else None
        answering = Answering(tap, ends, self._heard)
        if any(limit <= 0 for limit in left.values()):
            count = partial(self.prompt_tokens, path, request)
            return Pumped(partial(full.answer, count, said_tokens), path, data, answering)
        if path == TOKENIZE_PATH and "messages" in request and self._api.counting and self._api.counting.template_path:
            return Pumped(partial(self._by_template, self._api.counting, request), path, data, answering)
        return self._transport.start(path, data, answering)

    @contextlib.asynccontextmanager
    async def _by_template(
        self, counting: Counting, request: Mapping[str, Any], path: str, _body: bytes
    ) -> AsyncIterator[Answer]:
        """The tokens of a chat from an engine whose `/tokenize` takes text alone; see `Transport.ask`."""
        status, said = await self._templated(counting, self.prepared(CHAT_PATH, request))
        if (prompt := said.get("prompt")) is None:
            yield Said(status if status >= 400 else 502, to_json(said))
            return
        asked = {name: value for name, value in request.items() if name != "messages"}
        body = self.prepared(path, {**counting.options, **asked, "prompt": prompt})
        async with self._transport.ask(path, to_json(body, inf_nan_mode="constants")) as answer:
            yield answer

    async def _templated(self, counting: Counting, chat: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        """A status, and an object with the `prompt` that a chat's messages make, or with the error."""
        status, text = await self.call(Call(counting.template_path, chat))
        return status, json_object(text) or {}

    def _left(self, path: str, request: Mapping[str, Any], body: Mapping[str, Any], said: int) -> dict[str, int]:
        """How many tokens may still be said, where that is not the request's own to say."""
        if any(request.get(name) is not None for name in generate_kwargs.LIMITS):
            return {}  # of what may still be said
        limits = {name: body[name] for name in generate_kwargs.LIMITS if isinstance(body.get(name), int)}
        if not limits and path == COMPLETIONS_PATH and self._api.completion_tokens is not None:
            limits = {"max_tokens": self._api.completion_tokens}
        return {name: limit - said for name, limit in limits.items()}

    def _checked(self, path: str, request: Mapping[str, Any]) -> tuple[Outcome | None, Mapping[str, Any]]:
        """Why a request is refused, or the request with the model's prompt format applied."""
        if path not in self._api.paths:
            message = f"this worker does not serve {path!r}; it serves: {', '.join(self._api.paths)}"
            return Outcome(404, body=error_body(message, "not_found")), request
        if not self.serves(request):
            message = f"this worker has no model {request['model']!r}"
            return Outcome(404, body=error_body(message, "model_not_found")), request
        prompt_format = self._generation.prompt_format
        is_chat = path == CHAT_PATH or (path == TOKENIZE_PATH and "messages" in request)
        if not is_chat or prompt_format is None:
            return None, request
        try:
            return None, prompt_formats.formatted(prompt_format, request)
        except ValueError as error:
            return Outcome(400, body=error_body(str(error), "invalid_request_error")), request

    def _heard(self) -> None:
        """Note a sign of life."""
        self.heard_at = time.monotonic()

    async def run(self, path: str, request: Mapping[str, Any], emit: Emit) -> Outcome:
        """Do a request, for those who await it: see `begin`.

        Raises:
            EngineLostError: the engine's connection broke, perhaps after bytes were emitted.
        """
        end: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        asking = self.begin(path, request, Ends(emit, end.set_result, partial(_lose, end)))
        try:
            outcome = await end
        finally:
            if asking and end.cancelled():
                asking.cancel()
        if outcome.doubtful and not await self.healthy():
            raise EngineLostError(reason_of(outcome))
        return outcome

    async def complete(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Do one chat completion without streaming: the response object, or an error object.

        Raises:
            EngineLostError: as in `run`.
        """
        pieces: list[bytes] = []
        whole = {key: value for key, value in request.items() if key not in {"stream", "stream_options"}}
        outcome = await self.run(CHAT_PATH, whole, pieces.append)
        return (
            outcome.body
            or json_object(b"".join(pieces))
            or error_body("the engine's answer is not JSON", "engine_error")
        )

    def prepared(self, path: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """The request as the engine gets it: its own names, default stops first, usage asked for in streams."""
        body = {**request, "model": self._served_name}
        if renamed := self._api.renamed.get(path):
            body = {renamed.get(name, name): value for name, value in body.items()}
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


def _prompts(prompt: Any) -> list[Any]:
    """A completion's prompts, each a text or a list of tokens: the field holds one of them, or a list of them."""
    several = isinstance(prompt, list) and prompt and not isinstance(prompt[0], int)
    return list(prompt) if several else [prompt]


def _wants_usage(request: Mapping[str, Any]) -> bool:
    options = request.get("stream_options")
    return isinstance(options, dict) and bool(options.get("include_usage"))


def _lose(end: "asyncio.Future[Outcome]", why: str) -> None:
    end.set_exception(EngineLostError(why))
