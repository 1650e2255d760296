"""The console's handlers: the page, which anybody may load, and what it shows, which takes a key."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib import resources
from typing import Any, Protocol

from aiohttp import web

from headrace_queue import errors
from headrace_queue.access import Access, Viewer
from headrace_queue.console.state import Source, document

_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
_HEADERS = {
    # Only what this queue serves runs here, and no other page may frame it: what is typed in is a key.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
_MOST_DAYS = 366
_BY = ("key", "model")


class Usage(Protocol):
    """Knows what was used."""

    async def usage(self, days: int, by: str, key: str | None) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """Of the last days, today included, by `key` or `model`; of one key only if it is given.

        Returns `days` (day, tokens) and `rows` (name, requests, prompt_tokens, cached_tokens, completion_tokens,
        gpu_seconds).
        """


class Console:
    """The handlers."""

    def __init__(self, source: Source, access: Access, usage: Usage) -> None:
        self._source = source
        self._access = access
        self._usage = usage

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Put them where a browser looks for them."""
        router.add_get("/console", _file("index.html"))
        for entry in resources.files(__package__).joinpath("page").iterdir():
            router.add_get(f"/console/{entry.name}", _file(entry.name))
        router.add_get("/console/state", self._state)
        router.add_get("/console/usage", self._used)

    async def _state(self, request: web.Request) -> web.Response:
        return web.json_response(document(self._source, self._viewer(request)))

    async def _used(self, request: web.Request) -> web.Response:
        viewer = self._viewer(request)
        days, by = _days(request.query.get("days", "7")), request.query.get("by", "key")
        if by not in _BY:
            raise errors.bad_body(f"`by` is {by!r}: it must be one of {', '.join(_BY)}.", param="by")
        found = await self._usage.usage(days, by, None if viewer.sees_all_keys else viewer.key)
        return web.json_response(found)

    def _viewer(self, request: web.Request) -> Viewer:
        return self._access.viewer(request.headers.get("Authorization", ""))


def _days(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= _MOST_DAYS:
        raise errors.bad_body(f"`days` is {text!r}: it must be a number from 1 to {_MOST_DAYS}.", param="days")
    return int(text)


def _file(name: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    body = resources.files(__package__).joinpath("page", name).read_bytes()
    kind = _TYPES[name.rpartition(".")[2]]

    async def handle(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type=kind, charset="utf-8", headers=_HEADERS)

    return handle
