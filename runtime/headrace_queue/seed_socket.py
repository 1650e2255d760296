"""The queue's end of the seed's protocol: one request at a time, one JSON reply each."""

import asyncio
import time
from typing import Any

import structlog
from aiohttp import WSCloseCode, WSMsgType
from pydantic_core import from_json

from headrace_api.wire import SeedRequest, Usage
from headrace_queue import errors, sse
from headrace_queue.calls import CHAT
from headrace_queue.conduct import Conduct, ConductError
from headrace_queue.dispatch import Dispatcher
from headrace_queue.exchange import Call, End
from headrace_queue.outbox import Outbox, Socket, close


def seed_request(call: Call) -> str:
    """The message for a worker; one that knows no streams answers with a whole reply all the same."""
    body: dict[str, Any] = from_json(call.raw)
    request = {key: value for key, value in body.items() if key != "stream_options"}
    if not call.stream:
        request.pop("stream", None)
    return SeedRequest(openai_req=request).model_dump_json()


def parsed(text: str | bytes) -> Any:
    """A worker's message; where it is no JSON, an error that says so."""
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError as error:
        return {"error": errors.bad_reply(f"it is not JSON: {error}").body()["error"]}


def is_chunk(reply: Any) -> bool:
    """Whether it is one event of a stream, and not a whole answer."""
    choices = reply.get("choices") if isinstance(reply, dict) else None
    if not isinstance(choices, list) or "error" in reply:
        return False
    return any(isinstance(each, dict) and "delta" in each for each in choices) or (not choices and "usage" in reply)


def end_of(reply: Any) -> End:
    """What a whole reply, or an error, means for the client."""
    if isinstance(reply, dict) and reply.get("error"):
        error = reply["error"]
        if kind := reply.get("error_type"):
            error = {"type": str(kind)} | (error if isinstance(error, dict) else {"message": str(error)})
        status = sse.error_status(error)
        return End(status, sse.error_body(error, status))
    if why := sse.fault(reply):
        return End.failed(errors.bad_reply(why))
    return End(200, reply, sse.usage_of(reply.get("usage")))


def read_reply(text: str | bytes) -> End:
    """What a worker's one reply means for the client."""
    return end_of(parsed(text))


class SeedSession:
    """One registered worker: its connection, and the job that it has."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        outbox: Outbox,
        name: str,
        memory_mb: int,
        log: structlog.typing.FilteringBoundLogger,
    ) -> None:
        self._dispatcher = dispatcher
        self._outbox = outbox
        self._current: tuple[int, Call] | None = None
        self._created = 0
        """When it got that, in seconds since 1970."""
        self._streaming = False
        self._usage: Usage | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._draining = False
        self._conduct = Conduct(gpus=0)
        self._log = log
        self._worker = dispatcher.join(self, None, name, memory_mb=memory_mb)

    def give(self, job: int, call: Call, _waited_s: float, _receipt: str, /) -> None:
        """Send the request; a worker that does not answer in time loses its connection."""
        self._current, self._created = (job, call), int(time.time())
        loop = asyncio.get_running_loop()
        self._conduct.give(job, len(call.raw), loop.time())
        if call.openai_url != CHAT:
            loop.call_soon(self._refuse)
            return
        self._deadline = loop.call_later(self._dispatcher.limits.request_seconds, self._time_out)
        self._outbox.put(seed_request(call))

    def cancel(self, job: int) -> None:
        """Nothing: the protocol cannot stop a request. Its reply is dropped when it comes."""

    def drain(self, reason: str) -> None:
        """Close the connection as soon as the worker is idle; the protocol has no word for it."""
        self._draining = True
        if self._current is None:
            self._outbox.close(WSCloseCode.GOING_AWAY, reason)

    async def run(self, socket: Socket) -> None:
        """Serve the worker until its connection ends."""
        try:
            self._dispatcher.grant(self._worker, 1)
            async for frame in socket:
                if frame.type not in {WSMsgType.TEXT, WSMsgType.BINARY}:
                    break  # an error that this end has found
                self._count(len(frame.data))
                if not self._take(parsed(frame.data)):
                    await close(socket, WSCloseCode.PROTOCOL_ERROR, "a reply came, but there was no request")
                    break
            else:
                if socket.close_code == WSCloseCode.MESSAGE_TOO_BIG:
                    self._end(End.failed(errors.too_large_for_worker()))
        except ConductError as error:
            self._log.error("worker cut off", reason=str(error))
            await close(socket, WSCloseCode.POLICY_VIOLATION, str(error))
        finally:
            if self._deadline:
                self._deadline.cancel()
            self._current = None
            self._dispatcher.lose(self._worker)

    def _count(self, size: int) -> None:
        """A message of so many bytes came; raises `ConductError` where there are too many."""
        now = asyncio.get_running_loop().time()
        if self._current is None:
            self._conduct.said(now)
        else:
            self._conduct.piece(self._current[0], size, now)

    def _take(self, reply: Any) -> bool:
        """Take one message in; False where nothing was asked.

        A stream is one message for each event, then an empty object.
        """
        if self._current is None:
            return bool(reply == {})  # after a whole answer, from one that ends all answers so
        job, call = self._current
        if is_chunk(reply) and call.stream:
            self._streaming = True
            self._usage = sse.usage_of(reply.get("usage")) or self._usage
            if reply["choices"] or call.include_usage:
                self._dispatcher.piece(self._worker, job, sse.chunk(reply, call.model, call.request_id, self._created))
        elif self._streaming and reply == {}:
            self._dispatcher.piece(self._worker, job, sse.DONE)
            self._finish(End(200, None, self._usage))
        else:
            self._finish(end_of(reply))
        return True

    def _end(self, end: End) -> bool:
        """End the job that the worker has; False if it has none."""
        if self._current is None:
            return False
        (job, call), self._current = self._current, None
        self._streaming, self._usage = False, None
        if self._deadline:
            self._deadline.cancel()
        doubt = self._conduct.doubt(job, end.usage, end.gpu_seconds, asyncio.get_running_loop().time())
        if doubt:
            self._dispatcher.stop_giving(self._worker)
        self._dispatcher.finish(self._worker, job, call.request_id, end)
        if doubt:
            self._log.error("worker cut off", reason=doubt)
            self._outbox.close(WSCloseCode.POLICY_VIOLATION, f"what the worker says it used cannot be: {doubt}")
        return True

    def _finish(self, end: End) -> None:
        if not self._end(end):
            return
        if self._draining:
            self.drain("the queue stops")
        else:
            self._dispatcher.grant(self._worker, 1)

    def _refuse(self) -> None:
        message = "The only workers for this model answer nothing but /v1/chat/completions."
        self._finish(End.failed(errors.bad_body(message)))

    def _time_out(self) -> None:
        self._outbox.close(WSCloseCode.POLICY_VIOLATION, "no reply in time")
