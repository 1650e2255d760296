"""The clients' side: OpenAI's HTTP API, as far as it goes without accounts."""

import asyncio
import time
import uuid
from typing import Any

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from headrace_queue import errors, sse
from headrace_queue.access import Access, Admission
from headrace_queue.calls import CHAT, PATHS, read_call
from headrace_queue.dispatch import Dispatcher
from headrace_queue.exchange import Call, End, Exchange
from headrace_queue.keys.refusals import DEADLINE, PRIORITY
from headrace_queue.keys.wishes import with_wishes
from headrace_queue.metrics import Metrics
from headrace_queue.models import ModelNames

REQUEST_ID = "x-request-id"
_STREAM_HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
_GRACE_SECONDS = 30


class OpenAiApi:
    """The handlers, and the log line and metrics of every request."""

    def __init__(  # noqa: PLR0913, PLR0917 - what it works with
        self,
        dispatcher: Dispatcher,
        names: ModelNames,
        metrics: Metrics,
        log: structlog.typing.FilteringBoundLogger,
        max_request_bytes: int,
        access: Access,
    ) -> None:
        self._access = access
        self._dispatcher = dispatcher
        self._names = names
        self._metrics = metrics
        self._log = log
        self._max_request_bytes = max_request_bytes
        self._started = int(time.time())

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Put the handlers where OpenAI's clients look for them."""
        for path in PATHS:
            router.add_post(path, self.complete)
        router.add_get("/v1/models", self.list_models)
        router.add_get("/v1/models/{model:.+}", self.get_model)

    async def list_models(self, request: web.Request) -> web.Response:
        """`GET /v1/models`: every announced name that the key has a right to."""
        visible = self._access.visible(_authorization(request), self._names.announced())
        data = [self._model(name) for name in visible]
        return web.json_response({"object": "list", "data": data})

    async def get_model(self, request: web.Request) -> web.Response:
        """`GET /v1/models/{model}`; the name may contain slashes."""
        name = request.match_info["model"]
        if not (self._names.known(name) and self._access.visible(_authorization(request), [name])):
            raise errors.unknown_model(name, self._access.visible(_authorization(request), self._names.announced()))
        return web.json_response(self._model(name))

    async def complete(self, request: web.Request) -> web.StreamResponse:
        """`POST` of a chat completion, a completion or embeddings."""
        answer = _Answer(request, uuid.uuid4().hex)
        try:
            return await self._answer(answer)
        except errors.ApiError as error:
            answer.status = error.status
            return error_response(error, answer.request_id)
        except (asyncio.CancelledError, ConnectionError):
            answer.status = 499
            raise
        except Exception:
            answer.status = 500
            raise
        finally:
            self._account(answer)

    def _model(self, name: str) -> dict[str, str | int]:
        return {"id": name, "object": "model", "created": self._started, "owned_by": "headrace"}

    async def _answer(self, answer: "_Answer") -> web.StreamResponse:
        if self._dispatcher.draining:
            raise errors.draining()
        request = answer.request
        call = read_call(await self._body(request), request.path, answer.request_id)
        call = answer.call = with_wishes(call, request.headers.get(PRIORITY), request.headers.get(DEADLINE))
        answer.admission = self._access.admit(_authorization(request), call)
        call = answer.call = answer.admission.call
        if not (self._names.known(call.model) or self._names.expecting):
            raise errors.unknown_model(
                call.model, self._access.visible(_authorization(request), self._names.announced())
            )
        exchange = self._dispatcher.submit(call, answer.abort)
        answer.exchange = exchange
        try:
            async with asyncio.timeout(self._dispatcher.limits.request_seconds + _GRACE_SECONDS):
                return await answer.send()
        except TimeoutError:  # the answer is there, but the client does not read it
            answer.abort()
            raise ConnectionResetError("the client does not read") from None
        finally:
            self._dispatcher.leave(exchange)

    async def _body(self, request: web.Request) -> bytes:
        try:
            return await request.read()
        except web.HTTPRequestEntityTooLarge:
            raise errors.body_too_large(self._max_request_bytes) from None

    def _account(self, answer: "_Answer") -> None:
        loop = asyncio.get_running_loop()
        usage = answer.exchange.end.usage if answer.exchange and answer.exchange.end else None
        if answer.admission is not None:
            answer.admission.settle(usage)
        model = answer.call.model if answer.call else ""
        label = answer.exchange.label if answer.exchange else self._names.label(model)
        self._metrics.requests.labels(label, str(answer.status)).inc()
        fields = {"request_id": answer.request_id, "path": answer.request.path, "model": model, "status": answer.status}
        if (exchange := answer.exchange) is not None:
            if exchange.first_byte is not None:
                self._metrics.first_piece.labels(label).observe(exchange.first_byte - answer.began)
            fields |= {"attempts": exchange.attempts} | (usage.model_dump(exclude={"total_tokens"}) if usage else {})
        self._log.info("request", ms=round((loop.time() - answer.began) * 1000, 1), **fields)


class _Answer:
    """One request's answer on its way out."""

    def __init__(self, request: web.Request, request_id: str) -> None:
        self.request = request
        self.request_id = request_id
        self.began = asyncio.get_running_loop().time()
        self.status = 200
        self.call: Call | None = None
        self.exchange: Exchange | None = None
        self.admission: Admission | None = None

    @property
    def headers(self) -> dict[str, str]:
        """Of every answer."""
        limits = self.admission.headers if self.admission else {}
        return {REQUEST_ID: self.request_id, **limits}

    def abort(self) -> None:
        """Break the client's connection off."""
        if self.request.transport is not None:
            self.request.transport.abort()

    async def send(self) -> web.StreamResponse:
        """Wait for the answer's first bytes, then send all of it."""
        if self.exchange is None or self.call is None:
            raise RuntimeError("an answer is sent for a request that was submitted")
        first = await self.exchange.read()
        if isinstance(first, bytes):
            return await (self._stream(first) if self.call.stream else self._whole(first))
        if first.status == 200 and self.call.stream:
            if why := sse.fault(first.body):
                raise errors.bad_reply(why)
            return await self._stream(self._events(self.call, first.body or {}))
        self.status = first.status
        return self._json(first)

    def _events(self, call: Call, reply: dict[str, Any]) -> bytes:
        events = sse.events(reply, call.model, self.request_id, int(time.time()), include_usage=call.include_usage)
        return b"".join(events)

    def _json(self, end: End) -> web.Response:
        body = end.body
        if end.status == 200 and body is not None and self.request.path == CHAT and self.call:
            body = sse.complete(body, self.call.model, self.request_id, int(time.time()))
        if body is None:
            bare = errors.ApiError(
                502 if end.status == 200 else end.status, "worker_error", "The worker gave no answer."
            )
            self.status, body = bare.status, bare.body()
        headers = self.headers
        if end.retry_after is not None:
            headers["Retry-After"] = str(end.retry_after)
        return web.json_response(body, status=self.status, headers=headers)

    async def _whole(self, body: bytes) -> web.Response:
        return web.Response(body=body, content_type="application/json", headers=self.headers)

    async def _stream(self, data: bytes) -> web.StreamResponse:
        response = web.StreamResponse(headers=_STREAM_HEADERS | self.headers)
        await response.prepare(self.request)
        item: bytes | End = data
        while isinstance(item, bytes):
            await response.write(item)
            item = await self.exchange.read() if self.exchange else End()
        if item.status != 200:
            self.status = item.status
            await response.write(sse.event(item.body or errors.worker_lost().body()))
        await response.write_eof()
        return response


def _authorization(request: web.Request) -> str:
    return request.headers.get("Authorization", "")


def error_response(error: errors.ApiError, request_id: str) -> web.Response:
    """The answer that tells a client of `error`."""
    headers = {REQUEST_ID: request_id, **error.headers}
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    return web.json_response(error.body(), status=error.status, headers=headers)


@web.middleware
async def openai_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give the failures of the public port OpenAI's shape, also those that aiohttp finds."""
    try:
        return await handler(request)
    except errors.ApiError as error:
        return error_response(error, uuid.uuid4().hex)
    except web.HTTPException as error:
        allowed = error.headers.get("Allow")
        hint = f" It takes {allowed}." if allowed else ""
        message = f"{request.method} {request.path}: {error.reason}.{hint}"
        shaped = errors.ApiError(error.status, (error.reason or "error").lower().replace(" ", "_"), message)
        response = error_response(shaped, uuid.uuid4().hex)
        response.headers.update({"Allow": allowed} if allowed else {})
        return response
