"""One request's answer on its way out: between its exchange, which tells what has come, and its client's connection."""

import asyncio
import math
import time
from collections.abc import Callable
from typing import Any

from pydantic_core import to_json

from headrace_api.wire import Usage
from headrace_queue import errors, sse
from headrace_queue.access import Admission
from headrace_queue.calls import CHAT
from headrace_queue.exchange import Call, End, Exchange
from headrace_queue.http.reply import JSON, Reply, field
from headrace_queue.request_ids import HEADER
from headrace_queue.sse import DONE

_STREAM = b"content-type: text/event-stream\r\ncache-control: no-cache\r\nx-accel-buffering: no\r\n"
ETA = "x-headrace-eta-seconds"
GRACE_SECONDS = 30
"""After the time that a request may take, for a client to read what it has not read yet."""


class Desk:
    """Flushes answers, and hears of their ends.

    What came for many answers is written in one go, once the event loop has read what there is to read: the tokens of a
    request that came in one frame leave in one write, and the event loop is asked once for all.
    """

    def __init__(self, ended: Callable[["Answer"], None], eta: Callable[[Exchange], float | None]) -> None:
        self.ended = ended
        """Called once for each answer, when it has been sent or its client is lost."""
        self.eta = eta
        """In how many seconds a worker takes what waits, as far as that is known."""
        self._loop = asyncio.get_running_loop()
        self._waiting: list[Answer] = []

    def add(self, answer: "Answer") -> None:
        """Have `answer` flushed soon."""
        if not self._waiting:
            self._loop.call_soon(self._flush)
        self._waiting.append(answer)

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for answer in waiting:
            try:
                answer.flush()
            except Exception as error:  # noqa: BLE001 - one answer's fault must not keep the others back
                report = {"message": "an answer cannot be written", "exception": error}
                self._loop.call_exception_handler(report)
                answer.abort()


class Answer:
    """It is the connection's `Client`, and its `abort` and `news` are the exchange's."""

    __slots__ = (
        "_comment_at",
        "_comment_seconds",
        "_desk",
        "_events",
        "_queued",
        "_reply",
        "_until",
        "_wrote",
        "admission",
        "began",
        "call",
        "exchange",
        "path",
        "request_id",
        "status",
        "told_id",
    )

    def __init__(self, reply: Reply, path: str, request_id: str, began: float, desk: Desk) -> None:
        self.path = path
        self.request_id = request_id
        self.told_id = request_id
        """What the client gets to see as the request's id."""
        self.began = began
        """On the event loop's clock."""
        self.status = 200
        self.call: Call | None = None
        self.admission: Admission | None = None
        self.exchange: Exchange | None = None
        self._reply = reply
        self._desk = desk
        self._queued = False
        self._events = False
        """Whether the head of a stream has gone out."""
        self._comment_seconds = self._comment_at = self._until = 0.0
        self._wrote = False
        """Whether a part of a stream has gone out since the last tick: cheaper than to ask for the time of each."""

    @property
    def usage(self) -> Usage | None:
        """What the worker has told, as far as it has."""
        return self.exchange.end.usage if self.exchange and self.exchange.end else None

    def watch(self, seconds: float, comment_seconds: float) -> None:
        """The answer may take so long, and a comment tells its client that it waits, every so often."""
        self._until = self.began + seconds + GRACE_SECONDS
        self._comment_seconds = comment_seconds
        self._comment_at = self.began + comment_seconds

    # ---- told by the exchange

    def news(self) -> None:
        """Something has come for the client."""
        if not self._queued:
            self._queued = True
            self._desk.add(self)

    def abort(self) -> None:
        """The client does not read: break its connection off."""
        self._reply.abort()

    # ---- told by the connection

    def writable(self) -> None:
        """The client has read most of what there was."""
        self.flush()

    def sent(self) -> None:
        """The answer is complete."""
        self._desk.ended(self)

    def lost(self) -> None:
        """The client is gone."""
        if not (self.exchange and self.exchange.complete):  # many leave with the last event
            self.status = 499
        self._queued = True  # nothing is written any more
        self._desk.ended(self)

    def tick(self, now: float) -> None:
        """Let a client that waits for a stream, and what is between it and the queue, know that it does."""
        if now >= self._until:
            self.abort()  # the answer is there, but the client does not read it
        elif self._wrote:
            self._wrote = False
            self._comment_at = now + self._comment_seconds
        elif now >= self._comment_at and self._waits():
            self._comment_at = now + self._comment_seconds
            self._comment()

    def _comment(self) -> None:
        eta = self._desk.eta(self.exchange) if self.exchange and self.exchange.held else None
        seconds = None if eta is None else math.ceil(eta)
        self._begin(b"" if seconds is None else field(ETA, str(seconds)))
        self._reply.write(b": waiting\n\n" if seconds is None else b": waiting, about %d s\n\n" % seconds)

    def _waits(self) -> bool:
        if self.call is None or self.exchange is None:
            return False
        return self.call.stream and self.exchange.awaited and not (self.exchange.end or self._reply.paused)

    # ---- writing

    def flush(self) -> None:
        """Write what there is, unless the client does not keep up."""
        self._queued = False
        if self.exchange is None or self.call is None or self._reply.client is not self or self._reply.paused:
            return
        item = self.exchange.take()
        if isinstance(item, bytes):
            if not self.call.stream:
                self._reply.send(200, JSON + self._fields(), item)
                return
            self._begin()
            end = self.exchange.end
            if end is None or end.status != 200:
                self._reply.write(item)
                self._wrote = True
                self.exchange.complete = item.endswith(DONE)
                item = end
            else:
                self._reply.end(item)
                return
        if isinstance(item, End):
            self._finish(self.call, item)

    def _begin(self, more: bytes = b"") -> None:
        if not self._events:
            self._events = True
            self._reply.begin(_STREAM + self._fields() + more)

    def _finish(self, call: Call, end: End) -> None:
        if end.status != 200:
            self._fail(end)
        elif self.exchange and self.exchange.sent:
            self._reply.end()
        elif call.stream:
            self._convert(call, end.body)
        else:
            self._whole(call, end)

    def _convert(self, call: Call, body: dict[str, Any] | None) -> None:
        """A stream of a whole reply."""
        chat = call.openai_url == CHAT
        if why := sse.fault(body) if chat else sse.text_fault(body):
            self._fail(End.failed(errors.bad_reply(why)))
            return
        make, created = sse.events if chat else sse.text_events, int(time.time())
        events = make(body or {}, call.model, self.request_id, created, include_usage=call.include_usage)
        self._begin()
        self._reply.end(b"".join(events))

    def _whole(self, call: Call, end: End) -> None:
        if end.body is None:
            self._fail(End(502))
            return
        body = end.body
        if call.openai_url == CHAT:
            body = sse.complete(body, call.model, self.request_id, int(time.time()))
        self._reply.send(200, JSON + self._fields(), to_json(body))

    def _fail(self, end: End) -> None:
        """An error: with its status, or as an event where the status has gone out already."""
        self.status = end.status if 400 <= end.status <= 599 else 502
        if self._events:
            self._reply.end(sse.event(end.body or errors.worker_lost().body()))
            return
        body = end.body or errors.ApiError(self.status, "worker_error", "The worker gave no answer.").body()
        retry = b"" if end.retry_after is None else field("retry-after", str(end.retry_after))
        self._reply.send(self.status, JSON + self._fields() + retry, to_json(body))

    def refuse(self, error: errors.ApiError) -> None:
        """Answer at once with an error of the queue's own."""
        self.status = error.status
        extra = b"".join(field(name, value) for name, value in error.headers.items())
        if error.retry_after is not None:
            extra += field("retry-after", str(error.retry_after))
        self._reply.send(error.status, JSON + self._fields() + extra, to_json(error.body()))

    def _fields(self) -> bytes:
        told = field(HEADER, self.told_id)
        return told if self.admission is None else told + self.admission.fields
