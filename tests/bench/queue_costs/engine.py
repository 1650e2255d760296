"""A fake engine that costs little: OpenAI's answers, made beforehand, over bare asyncio protocols.

    python tests/bench/queue_costs/engine.py PORT MODEL

`POST /pace` with `{"ms": 10}` has every stream give a token each 10 ms, in a rhythm of its own; with 0 a stream's
tokens are written one after the other without a pause, so that they come in clumps. `GET /gone` tells when streams were
broken off, on the system's monotonic clock, and forgets it.
"""

import asyncio
import json
import sys
import time
from typing import Any

import httptools

_BACKLOG = 8192
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\n"
_STREAM = _HEAD % b"text/event-stream; charset=utf-8" + b"Transfer-Encoding: chunked\r\n\r\n"
_ID = "chatcmpl-0123456789abcdef0123456789abcdef"


class Answers:
    """Every answer of one model, as bytes, and the pace."""

    def __init__(self, model: str) -> None:
        self._head = {"id": _ID, "created": 1700000000, "model": model}
        self.pace_s = 0.0
        self.gone: list[float] = []
        said = {"index": 0, "delta": {"content": " word"}, "logprobs": None, "finish_reason": None}
        self.token = self._event({"choices": [said]})
        said = {"index": 0, "delta": {"content": ""}, "logprobs": None, "finish_reason": "length"}
        self.last = self._event({"choices": [said]})
        self.end = _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"

    def whole(self, tokens: int) -> bytes:
        """An answer that is not streamed."""
        said = {"role": "assistant", "content": " word" * tokens}
        choice = {"index": 0, "message": said, "logprobs": None, "finish_reason": "length"}
        body = {**self._head, "object": "chat.completion", "choices": [choice], "usage": _usage(tokens)}
        return with_length(json.dumps(body, separators=(",", ":")).encode())

    def usage(self, tokens: int) -> bytes:
        """The event that ends a stream where it was asked for."""
        return self._event({"choices": [], "usage": _usage(tokens)})

    def _event(self, more: dict[str, Any]) -> bytes:
        body = {**self._head, "object": "chat.completion.chunk", **more}
        return _chunk(b"data: " + json.dumps(body, separators=(",", ":")).encode() + b"\n\n")


def _usage(tokens: int) -> dict[str, int]:
    return {"prompt_tokens": 100, "completion_tokens": tokens, "total_tokens": 100 + tokens}


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def with_length(body: bytes) -> bytes:
    """A whole response of JSON."""
    return _HEAD % b"application/json" + b"Content-Length: %d\r\n\r\n" % len(body) + body


class Engine(asyncio.Protocol):
    """One connection; requests on it come one after the other."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._url, self._body = b"", b""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, _: Exception | None) -> None:
        if self._timer:
            self._timer.cancel()
            self._answers.gone.append(time.monotonic())

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._url, self._body = b"", b""

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_body(self, data: bytes) -> None:
        self._body += data

    def on_message_complete(self) -> None:
        asked = json.loads(self._body or b"{}")
        if self._url == b"/pace":
            self._answers.pace_s = asked["ms"] / 1000
        if self._url in {b"/pace", b"/health"}:
            self._transport.write(with_length(b"{}"))
        elif self._url == b"/gone":
            self._transport.write(with_length(json.dumps(self._answers.gone).encode()))
            self._answers.gone.clear()
        elif self._url == b"/v1/models":
            model = {"id": self._answers._head["model"], "object": "model", "created": 1, "owned_by": "bench"}
            self._transport.write(with_length(json.dumps({"object": "list", "data": [model]}).encode()))
        else:
            self._answer(asked)

    def _answer(self, asked: dict[str, Any]) -> None:
        tokens = asked.get("max_tokens") or asked.get("max_completion_tokens") or 16
        if not asked.get("stream"):
            self._transport.write(self._answers.whole(tokens))
            return
        self._transport.write(_STREAM)
        wants_usage = bool((asked.get("stream_options") or {}).get("include_usage"))
        end = self._answers.last + (self._answers.usage(tokens) if wants_usage else b"") + self._answers.end
        if pace := self._answers.pace_s:
            self._give(tokens, end, pace, self._loop.time() + pace)
            return
        for _ in range(tokens):
            self._transport.write(self._answers.token)
        self._transport.write(end)

    def _give(self, left: int, end: bytes, pace: float, due: float) -> None:
        if not left:
            self._timer = None
            self._transport.write(end)
            return
        self._transport.write(self._answers.token)
        self._timer = self._loop.call_at(due, self._give, left - 1, end, pace, due + pace)


async def serve(port: int, model: str) -> None:
    """Until SIGTERM."""
    answers = Answers(model)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Engine(answers), "127.0.0.1", port, backlog=_BACKLOG)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), sys.argv[2]))
