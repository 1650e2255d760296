"""The load generator, a process of its own: so many connections, each with one request after the other.

    python tests/bench/queue_costs/client.py '{"url": ..., "connections": 64, ...}'

The words are those of `Load`. It prints one JSON object: what came, how long it took, and the first errors in words.
Every answer must be whole.
"""

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httptools

_PROMPT = "Who won the world series in 2020? " * 12
_TOKEN = b'"content":" word"'
_SPACED = b'"content": " word"'
_SECONDS = 300.0


@dataclass
class Seen:
    """What one load has seen."""

    answers: int = 0
    tokens: int = 0
    errors: int = 0
    examples: list[str] = field(default_factory=list)
    seconds: float = 0.0
    first_ms: list[float] = field(default_factory=list)
    gaps_ms: list[float] = field(default_factory=list)


class Load:
    """One load and where it stands."""

    def __init__(
        self, *, url: str, key: str, connections: int, requests: int, tokens: int, stream: bool, gaps: bool
    ) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 80
        messages = [{"role": "user", "content": _PROMPT}]
        body = json.dumps({"model": "bench", "messages": messages, "max_tokens": tokens, "stream": stream}).encode()
        head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
        head += f"Authorization: Bearer {key}\r\nContent-Length: {len(body)}\r\n\r\n"
        self.request = head.encode() + body
        self.connections, self.left = connections, requests
        self.tokens, self.stream, self.gaps = tokens, stream, gaps
        self.open = connections
        self.seen = Seen()
        self.over = asyncio.Event()

    def fail(self, why: str) -> None:
        """Count a request that got no whole answer."""
        self.seen.errors += 1
        if len(self.seen.examples) < 3:
            self.seen.examples.append(why)


class Client(asyncio.Protocol):
    """One connection."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._asking = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._next()

    def _next(self) -> None:
        if self._load.left <= 0:
            self._transport.close()
            return
        self._load.left -= 1
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self._asking, self._keeps = True, False
        self._began, self._last = time.perf_counter(), 0.0
        self._transport.write(self._load.request)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_headers_complete(self) -> None:
        self._keeps = self._parser.should_keep_alive()

    def on_body(self, data: bytes) -> None:
        now = time.perf_counter()
        seen = self._load.seen
        if not self._body:
            seen.first_ms.append((now - self._began) * 1000)
        elif self._load.gaps:
            seen.gaps_ms.append((now - self._last) * 1000)
        self._last = now
        self._body.append(data)

    def on_message_complete(self) -> None:
        self._asking = False
        self._judge()
        self._next() if self._keeps else self._transport.close()

    def _judge(self) -> None:
        body = b"".join(self._body)
        status = self._parser.get_status_code()
        load = self._load
        if load.stream:
            tokens = body.count(_TOKEN) + body.count(_SPACED)
            whole = tokens == load.tokens and b"[DONE]" in body
        else:
            tokens = load.tokens
            whole = body.count(b" word") == tokens
        if status != 200 or not whole:
            load.fail(f"status {status}, {tokens} tokens, ending {body[-200:].decode(errors='replace')!r}")
            return
        load.seen.answers += 1
        load.seen.tokens += tokens

    def connection_lost(self, error: Exception | None) -> None:
        if self._asking:
            self._load.fail(f"the connection broke: {error}")
        _open(self._load)


def _open(load: Load, attempts: int = 3) -> None:
    """One more connection, while there is something left to ask; the load is over without any."""
    if load.left > 0:
        task = asyncio.ensure_future(_connect(load, attempts))
        task.add_done_callback(asyncio.Future.result)
        return
    load.open -= 1
    if not load.open:
        load.over.set()


async def _connect(load: Load, attempts: int) -> None:
    loop = asyncio.get_running_loop()
    try:
        await loop.create_connection(lambda: Client(load), load.host, load.port)
    except OSError as error:
        load.left -= 1
        load.fail(f"no connection: {error}")
        _open(load, attempts - 1)


async def run(wanted: dict[str, Any]) -> Seen:
    """The whole load."""
    load = Load(**wanted)
    began = time.perf_counter()
    for _ in range(load.connections):
        task = asyncio.ensure_future(_connect(load, 3))
        task.add_done_callback(asyncio.Future.result)
    try:
        await asyncio.wait_for(load.over.wait(), _SECONDS)
    except TimeoutError:
        load.fail(f"not over after {_SECONDS:.0f} s")
    load.seen.seconds = time.perf_counter() - began
    return load.seen


if __name__ == "__main__":
    print(json.dumps(asdict(asyncio.run(run(json.loads(sys.argv[1]))))))  # noqa: T201 (the parent reads it)
