"""One request over a connection of its own, and how it ended."""

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.traffic.books import Asked, End
from tests.traffic.wishes import DIMENSIONS, Wish

PATIENCE_S = 240.0
_CONNECT_S = 10.0
_EVENTS_UNTIL_LEFT = 3

Object = dict[str, Any]


@dataclass
class _Seen:
    """What has come of an answer so far."""

    request_id: str = ""
    end: End = End.BROKEN
    code: str = ""
    detail: str = ""
    text: list[str] = field(default_factory=list)
    events: int = 0
    usage: Object | None = None
    wrong: str = ""
    finished: bool = False


def session() -> aiohttp.ClientSession:
    """Each request gets a connection of its own, and so any of the queues."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S),
    )


async def ask(http: aiohttp.ClientSession, url: str, client: tuple[str, str], wish: Wish) -> Asked:
    """Ask and write down what came; `client` is the id of the key and its secret."""
    seen, sent_at = _Seen(), time.time()
    headers = {"authorization": f"Bearer {client[1]}", **wish.headers}
    try:
        async with (
            asyncio.timeout(PATIENCE_S),
            http.post(url + wish.path, json=wish.body, headers=headers) as response,
        ):
            await _read(response, wish, seen)
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
        seen.end, seen.detail = End.REFUSED, str(error)
    except (aiohttp.ClientError, ConnectionError) as error:
        seen.end, seen.detail = End.BROKEN, f"{type(error).__name__}: {error}"
    except TimeoutError:
        seen.end, seen.detail = End.HUNG, f"after {PATIENCE_S:.0f} s"
    tokens = (seen.usage["prompt_tokens"], seen.usage.get("completion_tokens", 0)) if seen.usage else None
    return Asked(
        client[0], wish.kind, sent_at, time.time(), seen.end, seen.request_id, seen.code, seen.events > 0,
        wish.continuable, tokens if seen.end is End.COMPLETE else None, seen.wrong, seen.detail,
    )  # fmt: skip


async def _read(response: aiohttp.ClientResponse, wish: Wish, seen: _Seen) -> None:
    told, own = response.headers.get("x-request-id", ""), wish.headers.get("x-request-id")
    if own is None:
        seen.request_id = told
    elif told != own:
        seen.wrong = f"x-request-id {told!r} instead of {own!r}"
    if response.status != 200:
        _error(await response.text(), seen, f"{response.status}: ")
    elif wish.body.get("stream"):
        await _read_stream(response, wish, seen)
    else:
        _whole(json.loads(await response.read()), wish, seen)


async def _read_stream(response: aiohttp.ClientResponse, wish: Wish, seen: _Seen) -> None:
    async for line in response.content:
        data = line.strip().removeprefix(b"data: ")
        if not line.startswith(b"data: "):
            continue
        if data == b"[DONE]":
            _complete(wish, seen)
            return
        event = json.loads(data)
        if "error" in event:
            _error(data.decode(), seen, "event: ")
            return
        _take(event, seen)
        if wish.leaves and seen.events >= _EVENTS_UNTIL_LEFT:
            seen.end = End.LEFT
            response.close()
            return
    seen.detail = "the stream ended without [DONE]"


def _take(event: Object, seen: _Seen) -> None:
    seen.usage = event.get("usage") or seen.usage
    for choice in event["choices"]:
        seen.events += 1
        seen.text.append(choice["delta"].get("content") or "")
        seen.finished = seen.finished or bool(choice.get("finish_reason"))


def _whole(answer: Object, wish: Wish, seen: _Seen) -> None:
    seen.usage, seen.events = answer["usage"], 1
    if wish.kind == "embeddings":
        sizes = [len(one["embedding"]) for one in answer["data"]]
        seen.finished = sizes == [DIMENSIONS] * len(wish.body["input"])
    else:
        (choice,) = answer["choices"]
        seen.text.append(choice["message"]["content"])
        seen.finished = bool(choice["finish_reason"])
    _complete(wish, seen)


def _complete(wish: Wish, seen: _Seen) -> None:
    seen.end = End.COMPLETE
    text = "".join(seen.text)
    if wish.text and text != wish.text:
        seen.wrong = f"another text: {text!r}"
    elif not seen.finished:
        seen.wrong = "without a reason to finish, or not all embeddings"
    elif not seen.usage:
        seen.wrong = "without usage"


def _error(text: str, seen: _Seen, where: str) -> None:
    seen.end, seen.detail = (End.BROKE_OFF if seen.events else End.ERROR), where + text[:300]
    try:
        seen.code = json.loads(text)["error"]["code"]
    except (ValueError, LookupError, TypeError):
        seen.wrong = "no error of OpenAI's"
