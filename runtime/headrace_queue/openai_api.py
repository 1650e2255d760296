"""The clients' side: OpenAI's HTTP API, with no task and no framework between a connection and the dispatcher."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import unquote_to_bytes

import structlog
from msgspec.structs import replace
from pydantic_core import to_json

from headrace_queue import errors
from headrace_queue.access import Access, Admission, Caller
from headrace_queue.answer import Answer, Desk
from headrace_queue.calls import PATHS, read_call
from headrace_queue.dispatch import Dispatcher
from headrace_queue.errors import ApiError
from headrace_queue.exchange import Call, Exchange
from headrace_queue.http.head import Head
from headrace_queue.http.reply import JSON, Reply
from headrace_queue.http.reply import field as header
from headrace_queue.keys.wishes import DEADLINE, PRIORITY, with_wishes
from headrace_queue.metrics import Metrics
from headrace_queue.models import ModelNames
from headrace_queue.needs import HOSTING, TAGS, read_needs
from headrace_queue.request_ids import HEADER, RequestIds, told_in_any_case, told_to_client

_MODELS = b"/v1/models"
_REQUEST_ID = HEADER.encode()
_TAGS, _HOSTING = TAGS.encode(), HOSTING.encode()
_MODEL = b"/v1/models/"
_TEXT = b"content-type: text/plain; charset=utf-8\r\n"

Page = Callable[[], tuple[int, bytes, bytes]]
"""Something small to be read: status, header fields as `Reply.send` takes them, and the body."""


def text_page(state: Callable[[], tuple[int, str]]) -> Page:
    """A page of plain text."""

    def page() -> tuple[int, bytes, bytes]:
        status, text = state()
        return status, _TEXT, text.encode()

    return page


def json_page(body: object) -> Page:
    """A page that is always the same object."""
    data = to_json(body)
    return lambda: (200, JSON, data)


class Ids(Protocol):
    """Where the ids of requests come from."""

    def new(self) -> str:
        """One that no other request has, of this replica or another."""


@dataclass(frozen=True)
class Parts:
    """What the API works with."""

    dispatcher: Dispatcher
    names: ModelNames
    access: Access
    metrics: Metrics
    log: structlog.typing.FilteringBoundLogger
    write_line: Callable[[dict[str, Any]], None]
    """Gets the fields of the log's line of each request, and may keep them."""
    ids: Ids = field(default_factory=RequestIds)


class OpenAiApi:
    """The `Service` of the public port, and the log line and metrics of every request."""

    def __init__(self, parts: Parts, pages: dict[bytes, Page], comment_seconds: float) -> None:
        self._dispatcher = parts.dispatcher
        self._names = parts.names
        self._access = parts.access
        self._metrics = parts.metrics
        self._log = parts.log
        self._write_line = parts.write_line
        self._pages = pages
        self._comment_seconds = comment_seconds
        self._ids = parts.ids
        self._now = asyncio.get_running_loop().time
        self._desk = Desk(self._account, self._dispatcher.eta)
        self._started = int(time.time())

    # ---- the connections' service

    @property
    def closing(self) -> bool:
        """A client that keeps its connection while this queue drains would try again here, and not at the next one."""
        return self._dispatcher.draining

    def takes(self, head: Head) -> bool:
        """Whether the path is one of the API's."""
        if head.target in PATHS:
            return True
        path = head.path
        return path in PATHS or path == _MODELS or path.startswith(_MODEL) or path in self._pages

    def serve(self, head: Head, body: bytes, reply: Reply) -> None:
        """Answer a request."""
        openai_url = PATHS.get(head.target) or PATHS.get(head.path)
        if openai_url is None:
            self._look_up(head, reply)
            return
        answer = self._answer(openai_url, reply)
        try:
            self._complete(head, body, answer)
        except ApiError as error:
            answer.refuse(error)
        except Exception:  # noqa: BLE001 - the client is told, and the connection goes on
            self._log.exception("a request has failed", request_id=answer.request_id)
            answer.refuse(errors.internal())

    def refuse(self, head: Head | None, error: ApiError, reply: Reply) -> None:
        """Answer a request that cannot be read."""
        answer = self._answer(_shown(head.path) if head else "", reply)
        if head is not None:
            answer.told_id = told_in_any_case(answer.request_id, head.fields.get(_REQUEST_ID))
        answer.refuse(error)

    def _answer(self, path: str, reply: Reply) -> Answer:
        answer = Answer(reply, path, self._ids.new(), self._now(), self._desk)
        reply.client = answer
        return answer

    # ---- requests

    def _complete(self, head: Head, body: bytes, answer: Answer) -> None:
        answer.told_id = told_to_client(answer.request_id, head.fields.get(_REQUEST_ID))
        if head.method != "POST":
            raise errors.not_allowed(head.method, _shown(head.path), "POST")
        if self._dispatcher.draining:
            raise errors.draining()
        caller = self._caller(head)  # first: a body may be large, and what is wrong with it nobody else's business
        call = answer.call = self._read(body, answer)
        if needs := read_needs(_text(head.fields.get(_TAGS, b"")), _text(head.fields.get(_HOSTING, b""))):
            call = answer.call = replace(call, needs=needs)
        call = with_wishes(call, head.fields.get(PRIORITY), head.fields.get(DEADLINE))
        admission = answer.admission = caller.admit(call)
        call = answer.call = admission.call
        if not (self._names.known(call.model) or self._names.expecting):
            raise errors.unknown_model(call.model, caller.visible(self._names.announced()))
        answer.watch(self._dispatcher.limits.request_seconds, self._comment_seconds)
        answer.exchange = self._dispatcher.submit(call, answer.abort, answer.news)

    def _caller(self, head: Head) -> Caller:
        return self._access.caller(_text(head.fields.get(b"authorization", b"")))

    def _read(self, body: bytes, answer: Answer) -> Call:
        call = read_call(body, answer.path, answer.request_id, self._names.resolve)
        adapter = self._names.adapter(call.model) if ":" in call.model else ""
        return replace(call, adapter=adapter) if adapter else call

    def _account(self, answer: Answer) -> None:
        if answer.exchange is not None:
            self._dispatcher.leave(answer.exchange)
        usage = answer.usage
        if answer.admission is not None:
            _settle(answer.admission, answer.exchange)
        model = answer.call.model if answer.call else ""
        label = answer.exchange.label if answer.exchange else self._names.label(model)
        self._metrics.requests.count(label, answer.status)
        fields: dict[str, Any] = {
            "ms": round((self._now() - answer.began) * 1000, 1),
            "request_id": answer.request_id,
            "path": answer.path,
            "model": model,
            "status": answer.status,
        }
        if answer.told_id != answer.request_id:
            fields["client_request_id"] = answer.told_id
        if (exchange := answer.exchange) is not None:
            if exchange.first_byte is not None:
                self._metrics.requests.observe_first_piece(label, exchange.first_byte - answer.began)
            fields["attempts"] = exchange.attempts
        if usage is not None:
            fields["prompt_tokens"] = usage.prompt_tokens
            fields["cached_tokens"] = usage.cached_tokens
            fields["completion_tokens"] = usage.completion_tokens
        self._write_line(fields)
        answer.exchange = None  # as that has the answer's `news`: a cycle would keep the bodies of both for long

    # ---- what there is to read

    def _look_up(self, head: Head, reply: Reply) -> None:
        answer = Answer(reply, _shown(head.path), self._ids.new(), 0.0, self._desk)
        answer.told_id = told_in_any_case(answer.request_id, head.fields.get(_REQUEST_ID))
        try:
            if head.method not in {"GET", "HEAD"}:
                raise errors.not_allowed(head.method, answer.path, "GET, HEAD")
            status, fields, body = self._page(head)
        except ApiError as error:
            answer.refuse(error)
        else:
            reply.send(status, fields + header(HEADER, answer.told_id), body)

    def _page(self, head: Head) -> tuple[int, bytes, bytes]:
        path = head.path
        if page := self._pages.get(path):
            return page()
        told_to_client("", head.fields.get(_REQUEST_ID))  # whatever is asked for: one that cannot be used is an error
        caller = self._caller(head)
        if path == _MODELS:
            data = [self._model(name) for name in self._shown_to(caller)]
            return 200, JSON, to_json({"object": "list", "data": data})
        name = _shown(path.removeprefix(_MODEL))
        model = self._names.resolve(name)
        exists = name in self._names.offered() or self._names.known(model)
        if not (caller.visible([model]) and exists):
            raise errors.unknown_model(name, self._shown_to(caller))
        return 200, JSON, to_json(self._model(name))

    def _shown_to(self, caller: Caller) -> list[str]:
        """The names that it may know, in order; rights are to models, so an alias goes by the one that it means."""
        meant = {name: self._names.resolve(name) for name in self._names.offered()}
        may = set(caller.visible(set(meant.values())))
        return sorted(name for name, model in meant.items() if model in may)

    def _model(self, name: str) -> dict[str, str | int]:
        return {"id": name, "object": "model", "created": self._started, "owned_by": "headrace"}


def _settle(admission: Admission, exchange: Exchange | None) -> None:
    """An answer has ended; what its request has used is known once its row is written."""
    if exchange is None:
        admission.settle(None, worked=False)
        return
    if not exchange.booked:
        admission.leave()
    exchange.when_booked(lambda ended: admission.settle(ended.counted(), worked=ended.worked))


def _shown(path: bytes) -> str:
    """A path as people write it."""
    return unquote_to_bytes(path).decode(errors="replace")


def _text(value: bytes) -> str:
    return value.decode("latin-1")
