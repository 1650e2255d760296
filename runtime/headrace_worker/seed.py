"""One connection in the seed protocol, for a Spider that knows nothing of `headrace.v1`.

The protocol has no message to decline, cancel or acknowledge, and no name for a request: requests are answered one at a
time, in the order they came.
"""

import asyncio
import contextlib
import json
import time
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import structlog
from pydantic import ValidationError

from headrace_api.wire import Registration, SeedRequest
from headrace_worker.answering import error_body
from headrace_worker.engine_client import EngineClient
from headrace_worker.engines.protocol import CHAT_PATH
from headrace_worker.session import BREAKS
from headrace_worker.sse import EventCutter
from headrace_worker.status import Status
from headrace_worker.tasks import end
from headrace_worker.transports.protocol import EngineLostError

_SETTLED_S = 2.0
"""A connection that has been open for so long counts as accepted, for the protocol has no message that says so."""

log = structlog.get_logger()


@dataclass
class SeedSession:
    """One connection; `run` returns when it has ended."""

    socket: aiohttp.ClientWebSocketResponse
    registration: Registration
    status: Status
    registered: asyncio.Event = field(default_factory=asyncio.Event)
    _requests: asyncio.Queue[str | bytes] = field(default_factory=asyncio.Queue)
    _idle: asyncio.Event = field(default_factory=asyncio.Event)
    _draining: bool = False

    async def run(self) -> None:
        """Register, then serve until either side closes or the connection breaks."""
        self._idle.set()
        # Read and answer separately: a connection that breaks while the engine works must be noticed.
        reader = asyncio.create_task(self._read())
        answerer = asyncio.create_task(self._register_and_answer())
        try:
            await asyncio.wait({reader, answerer}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._idle.set()  # whoever drains need not wait for a connection that is gone
            await end(reader, answerer, expected=BREAKS)
            await self.socket.close()

    async def drain(self, reason: str, patience_s: float) -> None:
        """Finish the request under way; the protocol cannot hand back others, closing tells the Spider."""
        await self.finish(reason, patience_s)
        await self.socket.close()

    async def finish(self, reason: str, patience_s: float) -> None:
        """Finish the request under way, and begin no other."""
        self._draining = True
        log.info("leaving the Spider", reason=reason)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await self._idle.wait()

    async def _read(self) -> None:
        async for frame in self.socket:
            if frame.type in {aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY}:
                self.registered.set()
                self._idle.clear()
                self._requests.put_nowait(frame.data)

    async def _register_and_answer(self) -> None:
        """A Spider sends requests to whoever has registered, so that has to wait until the worker is ready."""
        offer = await self.status.until_offered()
        await self.socket.send_str(self.registration.model_dump_json())
        settled = asyncio.get_running_loop().call_later(_SETTLED_S, self.registered.set)
        try:
            await self._answer_all(offer.engine)
        finally:
            settled.cancel()

    async def _answer_all(self, engine: EngineClient) -> None:
        while True:
            text = await self._requests.get()
            if self._draining:
                return
            began = time.monotonic()
            self.status.begin_request(stream=False)
            try:
                answer = await self._answer(engine, text)
            finally:
                self.status.end_request(stream=False)
                self.status.metrics.seconds.observe(time.monotonic() - began)
            self.status.metrics.requests.add("error" if "error" in answer else 200)
            await self.socket.send_str(json.dumps(answer))
            if self._requests.empty():
                self._idle.set()

    async def _answer(self, engine: EngineClient, text: str | bytes) -> dict[str, Any]:
        try:
            request = SeedRequest.model_validate_json(text)
        except ValidationError as error:
            where = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
            return error_body(f"not a request of the worker protocol: {where}", "invalid_request_error")
        log.debug("request", openai_req=request.openai_req)
        try:
            answer = await self._ask(engine, request.openai_req)
        except EngineLostError as error:
            answer = error_body(f"the engine was lost: {error}", "engine_lost")
        log.debug("answer", answer=answer)
        return told(answer)

    async def _ask(self, engine: EngineClient, request: dict[str, Any]) -> dict[str, Any]:
        """The last message of an answer; the events of a stream are sent before it."""
        if request.get("stream") is not True:
            return await engine.complete(request)
        events: asyncio.Queue[str | None] = asyncio.Queue()
        cutter = EventCutter(events.put_nowait)
        sender = asyncio.create_task(self._send_events(events))
        try:
            asked = {**request, "stream_options": {"include_usage": True}}  # whoever asked accounts for it
            outcome = await engine.run(CHAT_PATH, asked, cutter.feed)
        finally:
            events.put_nowait(None)
            await sender
        return outcome.body or {}

    async def _send_events(self, events: "asyncio.Queue[str | None]") -> None:
        while (event := await events.get()) is not None:
            await self.socket.send_str(event)


def told(answer: dict[str, Any]) -> dict[str, Any]:
    """An error as the seed's workers tell it: its message and its type, beside OpenAI's object."""
    error = answer.get("error")
    return {**answer, "error_type": str(error.get("type") or "server_error")} if isinstance(error, dict) else answer
