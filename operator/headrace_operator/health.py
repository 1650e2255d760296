"""Health, readiness and metrics over HTTP."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest


@asynccontextmanager
async def serve(port: int, ready: Callable[[], bool], registry: CollectorRegistry) -> AsyncIterator[None]:
    """Serve on `port`: `/healthz` (the event loop turns), `/readyz` and `/metrics`.

    Args:
        port: the port, on all addresses.
        ready: whether the watches are in place and the API server trusts the webhook.
        registry: the metrics.
    """

    async def healthz(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def readyz(_: web.Request) -> web.Response:
        status = "ready" if ready() else "the watches, or the webhook's certificate, are not in place yet"
        return web.json_response({"status": status}, status=200 if ready() else 503)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": "text/plain; version=0.0.4"})

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", metrics)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, port=port).start()
    try:
        yield
    finally:
        await runner.cleanup()
