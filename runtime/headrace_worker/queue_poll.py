"""A connection to the queue made of HTTP requests, where a proxy on the way lets no WebSocket through.

To a session it looks like aiohttp's WebSocket; the requests and their meaning are in `headrace_api.wire_poll`.
"""

import asyncio
import contextlib
import random
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import structlog
from pydantic import ValidationError

from headrace_api.wire import SUBPROTOCOL, WORKER_PATH
from headrace_api.wire_poll import BINARY, POLL_PATH, TEXT, PollEnd, PollSession, decode_frames, encode_frames

_FULL_BYTES = 1 << 20
_MARGIN_S = 10.0
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0

log = structlog.get_logger()


def poll_url(worker_url: str) -> str:
    """Where a queue whose WebSocket address is `worker_url` is polled."""
    parts = urlsplit(worker_url)
    scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
    path = parts.path.removesuffix("/").removesuffix(WORKER_PATH) + POLL_PATH
    return urlunsplit((scheme, parts.netloc, path, parts.query, ""))


async def opened(
    http: aiohttp.ClientSession,
    worker_url: str,
    headers: dict[str, str],
    retries: int,
    tls: ssl.SSLContext | None = None,
) -> "PollSocket":
    """A new session.

    Raises:
        aiohttp.ClientError: the queue does not open one, or cannot be reached.
    """
    url = poll_url(worker_url)
    ask = Ask(http, headers, tls or True)
    async with http.post(url, headers=headers, ssl=ask.tls) as response:
        response.raise_for_status()
        try:
            session = PollSession.model_validate_json(await response.read())
        except ValidationError as error:
            raise aiohttp.ClientPayloadError("the answer to POST /worker/poll is no session") from error
    return PollSocket(ask, url, session, retries)


@dataclass(frozen=True)
class Ask:
    """What every request has."""

    http: aiohttp.ClientSession
    headers: dict[str, str]
    tls: ssl.SSLContext | bool


class PollSocket:
    """See `V1Session.socket`."""

    protocol = SUBPROTOCOL

    def __init__(self, ask: Ask, url: str, session: PollSession, retries: int) -> None:
        base = urlsplit(url)
        self._base = urlunsplit(base._replace(path=f"{base.path}/{session.session}"))
        self._ask = ask
        self._retries = retries
        self._wait = aiohttp.ClientTimeout(total=session.wait_s + _MARGIN_S)
        self._out: list[tuple[int, bytes]] = []
        self._size = 0
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()
        self._closed = asyncio.Event()
        self._sender = asyncio.create_task(self._send_all())
        self.close_code: int | None = None

    async def send_str(self, data: str, /) -> None:
        """Send a text frame; waits while much is unsent."""
        await self._send(TEXT, data.encode())

    async def send_bytes(self, data: bytes, /) -> None:
        """Send a binary frame, likewise."""
        await self._send(BINARY, data)

    async def __aiter__(self) -> AsyncIterator[aiohttp.WSMessage]:
        """The frames until the session has ended."""
        number = 0
        while not self._closed.is_set():
            number += 1
            body = await self._asked(f"fetch/{number}", b"")
            for kind, data in decode_frames(body or b""):
                text = kind == TEXT
                kept = aiohttp.WSMsgType.TEXT if text else aiohttp.WSMsgType.BINARY
                yield aiohttp.WSMessage(kept, data.decode() if text else data, None)

    async def close(self) -> bool:
        """End the session, after what is still to be sent."""
        if self.close_code is None:
            with contextlib.suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(2):
                    while self._out:
                        await self._emptied_once()
        self._sender.cancel()
        await asyncio.gather(self._sender, return_exceptions=True)
        if self.close_code is None:
            self._end(PollEnd(code=1000))
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with (
                    asyncio.timeout(2),
                    self._ask.http.delete(self._base, headers=self._ask.headers, ssl=self._ask.tls),
                ):
                    pass
        return True

    async def _send(self, kind: int, data: bytes) -> None:
        if self._closed.is_set():
            raise ConnectionResetError("the session with the queue has ended")
        self._out.append((kind, data))
        self._size += len(data)
        self._filled.set()
        while self._size > _FULL_BYTES and not self._closed.is_set():
            await self._emptied_once()

    async def _emptied_once(self) -> None:
        self._emptied.clear()
        await self._emptied.wait()

    async def _send_all(self) -> None:
        number = 0
        while not self._closed.is_set():
            await self._filled.wait()
            self._filled.clear()
            frames, self._out, self._size = self._out, [], 0
            number += 1
            await self._asked(f"send/{number}", encode_frames(frames))
            self._emptied.set()

    async def _asked(self, path: str, body: bytes) -> bytes | None:
        """The answer to one request, tried again as often as may be; None once the session has ended."""
        for attempt in range(self._retries + 1):
            try:
                url, ask = f"{self._base}/{path}", self._ask
                answer = ask.http.post(url, data=body, headers=ask.headers, timeout=self._wait, ssl=ask.tls)
                async with answer as response:
                    if response.status in {200, 204}:
                        return await response.read()
                    if response.status < 500:
                        self._end(_end_of(response.status, await response.read()))
                        return None
            except (aiohttp.ClientError, ConnectionError, TimeoutError) as error:
                log.debug("a request to the queue failed", path=path, error=f"{type(error).__name__}: {error}")
            pause = min(_FIRST_PAUSE_S * 2**attempt, _LONGEST_PAUSE_S)
            await asyncio.sleep(pause * (0.5 + random.random() / 2))  # noqa: S311 (no secret)
        self._end(PollEnd(code=1006, reason="the queue does not answer"))
        return None

    def _end(self, end: PollEnd) -> None:
        self.close_code = self.close_code or end.code
        self._closed.set()
        self._emptied.set()


def _end_of(status: int, body: bytes) -> PollEnd:
    try:
        return PollEnd.model_validate_json(body)
    except ValidationError:
        return PollEnd(code=1006, reason=f"the queue answered {status}")
