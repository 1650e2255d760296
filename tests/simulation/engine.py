"""An engine behind a worker's real client of it: it says words that anybody can foretell, or misbehaves."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

from headrace_worker.transports.awaited import Pumped
from headrace_worker.transports.protocol import EngineLostError, Sink
from tests.simulation.plan import Temper

HANG_S = 10_000.0
_PROMPT = 35
"""Tokens: about what the queue takes a prompt of this length to have."""
WRONG_USAGES: dict[str, dict[str, Any]] = {
    "lies": {"prompt_tokens": -7, "completion_tokens": -1, "total_tokens": -8},
    "babbles": {"prompt_tokens": 3, "completion_tokens": "many", "total_tokens": None},
}


def words_of(request_id: str, number: int) -> list[str]:
    """The answer to a request."""
    return [f"{request_id}.{index} " for index in range(number)]


def usage_of(number: int) -> dict[str, int]:
    return {"prompt_tokens": _PROMPT, "completion_tokens": number, "total_tokens": _PROMPT + number}


@dataclass
class FakeEngine:
    """See `headrace_worker.transports.protocol.Transport`."""

    pace_s: float
    tempers: Iterator[Temper]
    running: dict[int, str] = field(default_factory=dict)
    begun: int = 0
    lost: asyncio.Event = field(default_factory=asyncio.Event)

    def die(self) -> None:
        """Break what is under way off; a new engine is there at once."""
        self.lost.set()
        self.lost = asyncio.Event()

    def start(self, path: str, body: bytes, sink: Sink) -> Pumped:
        return Pumped(self.ask, path, body, sink)

    @contextlib.asynccontextmanager
    async def ask(self, path: str, body: bytes) -> AsyncIterator["FakeAnswer"]:
        request = json.loads(body)
        self.begun += 1
        number = self.begun
        temper = next(self.tempers, "good")
        self.running[number] = request["messages"][0]["content"]
        try:
            await self.pause()
            if temper == "mute":
                raise EngineLostError(path)
            yield FakeAnswer(self, request, temper)
        finally:
            del self.running[number]

    async def pause(self, seconds: float | None = None) -> None:
        lost = self.lost
        try:
            async with asyncio.timeout(self.pace_s if seconds is None else seconds):
                await lost.wait()
        except TimeoutError:
            return
        raise EngineLostError("the engine died")

    async def close(self) -> None:
        """Nothing is open."""


@dataclass
class FakeAnswer:
    engine: FakeEngine
    request: dict[str, Any]
    temper: Temper
    said: int = 0
    """Words of the answer that another engine has said."""

    @property
    def status(self) -> int:
        return 400 if self.temper == "error" else 200

    async def received(self) -> AsyncIterator[bytes]:
        first, *said = (message["content"] for message in self.request["messages"])
        request_id, number = first.split()
        words = words_of(request_id, int(number))
        self.said = len("".join(said).split())
        words = words[self.said :]
        if self.temper == "error":
            yield b'{"error": {"message": "no", "type": "invalid_request_error", "param": null, "code": "no"}}'
        elif self.request.get("stream"):
            async for piece in self._events(words):
                yield piece
        else:
            for _ in words:
                await self.engine.pause()
            await self._misbehave()
            message = {"role": "assistant", "content": "".join(words)}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            yield json.dumps({**_head("chat.completion"), "choices": [choice], "usage": self._usage(words)}).encode()

    async def _events(self, words: list[str]) -> AsyncIterator[bytes]:
        yield _event([{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}])
        for index, word in enumerate(words):
            await self.engine.pause()
            if index == len(words) // 2:
                await self._misbehave()
            yield _event([{"index": 0, "delta": {"content": word}, "finish_reason": None}])
        yield _event([{"index": 0, "delta": {}, "finish_reason": "stop"}])
        yield _event([], usage=self._usage(words))
        yield b"data: [DONE]\n\n"

    def _usage(self, words: list[str]) -> dict[str, Any]:
        usage = usage_of(len(words))
        usage |= {
            "prompt_tokens": usage["prompt_tokens"] + self.said,
            "total_tokens": usage["total_tokens"] + self.said,
        }
        return WRONG_USAGES.get(self.temper) or usage

    async def _misbehave(self) -> None:
        if self.temper == "breaks":
            raise EngineLostError("broken off")
        if self.temper == "hangs":
            await self.engine.pause(HANG_S)


def _head(kind: str) -> dict[str, Any]:
    return {"id": "x", "object": kind, "created": 1, "model": "m"}


def _event(choices: list[dict[str, Any]], **more: Any) -> bytes:
    return b"data: " + json.dumps({**_head("chat.completion.chunk"), "choices": choices, **more}).encode() + b"\n\n"
