"""How long an engine goes on after a client has left: from the client's closing to the engine's hearing of it."""

import asyncio
import json
import math
import time
from urllib.parse import urlsplit

import aiohttp

from tests.bench.queue_costs.loads import KEY

_TOKENS = 500
_SETTLE_S = 0.05
_HEARD_S = 2.0


async def leave(url: str, engine_port: int, times: int) -> list[float]:
    """Milliseconds, for so many streams one after the other; each client leaves at its first token.

    Infinity alone, where the engine has not heard of all of them: a proxy may just go on.
    """
    left = []
    await _gone(engine_port)
    for _ in range(times):
        left.append(await _leave_one(url))
        await asyncio.sleep(_SETTLE_S)
    await asyncio.sleep(_HEARD_S)
    gone = await _gone(engine_port)
    if len(gone) != times:
        return [math.inf]
    return [(heard - said) * 1000 for said, heard in zip(left, gone, strict=True)]


async def _leave_one(url: str) -> float:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    said = [{"role": "user", "content": "Hello"}]
    body = json.dumps({"model": "bench", "messages": said, "max_tokens": _TOKENS, "stream": True}).encode()
    head = f"POST {parts.path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Authorization: Bearer {KEY}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    await reader.readuntil(b"data: ")
    left = time.monotonic()
    writer.transport.abort()
    return left


async def _gone(engine_port: int) -> list[float]:
    async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{engine_port}/gone") as got:
        found: list[float] = await got.json()
        return found
