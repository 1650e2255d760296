"""An aiohttp application that listens while a test needs it."""

import contextlib
import ssl
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web


@contextlib.asynccontextmanager
async def served(
    app: web.Application, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None, **runner: Any
) -> AsyncIterator[int]:
    """Yields its port; `runner` are options of `web.AppRunner`."""
    listening = web.AppRunner(app, **{"shutdown_timeout": 0.1, **runner})
    await listening.setup()
    await web.TCPSite(listening, host, port, ssl_context=tls).start()
    try:
        yield int(listening.addresses[0][1])
    finally:
        await listening.cleanup()
