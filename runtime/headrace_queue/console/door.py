"""The console's handlers: the page, which anybody may load, and what it shows, which takes a key.

Usage and chats are those of the public API, with the same key.
"""

from collections.abc import Awaitable, Callable
from importlib import resources

from aiohttp import web

from headrace_queue.console.state import Sight, document
from headrace_queue.keys.viewer import Viewer

_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
_HEADERS = {
    # Only what this queue serves runs here, and no other page may frame it: what is typed in is a key.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


class Console:
    """The handlers."""

    def __init__(self, look: Callable[[], Sight], viewer: Callable[[str], Viewer]) -> None:
        """`viewer` tells who asks, by the header `Authorization`, or raises ApiError."""
        self._look = look
        self._viewer = viewer

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Put them where a browser looks for them."""
        router.add_get("/console", _file("index.html"))
        for entry in resources.files(__package__).joinpath("page").iterdir():
            router.add_get(f"/console/{entry.name}", _file(entry.name))
        router.add_get("/console/state", self._state)

    async def _state(self, request: web.Request) -> web.Response:
        viewer = self._viewer(request.headers.get("Authorization", ""))
        return web.json_response(document(self._look(), viewer), headers={"Cache-Control": "no-store"})


def _file(name: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    body = resources.files(__package__).joinpath("page", name).read_bytes()
    kind = _TYPES[name.rpartition(".")[2]]

    async def handle(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type=kind, charset="utf-8", headers=_HEADERS)

    return handle
