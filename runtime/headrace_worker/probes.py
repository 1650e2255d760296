"""What others can ask the worker, and ports that are open only while it is ready.

`/metrics`; `/healthz`, `/startedz` and `/readyz`, for the probes of Kubernetes.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import aiohttp
import structlog
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from headrace_worker import engine_metrics
from headrace_worker.errors import ProbesError
from headrace_worker.life import State
from headrace_worker.status import Status
from headrace_worker.tasks import end

log = structlog.get_logger()


def application(status: Status, http: aiohttp.ClientSession) -> web.Application:
    """The HTTP application for `metrics_port`; `http` is for asking the engine."""

    async def metrics(_request: web.Request) -> web.Response:
        source = status.engine_metrics
        engines = await engine_metrics.fetch(http, source) if source else None
        status.metrics.engine_metrics.set(engines is not None)
        status.metrics.reconcile(engines or "")
        status.metrics.bring_up_to_date()
        body = generate_latest(status.metrics.registry) + (engines or "").encode()
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def healthz(_request: web.Request) -> web.Response:
        dead = status.state is State.FAILED
        return web.json_response({"state": status.state.value}, status=503 if dead else 200)

    async def startedz(_request: web.Request) -> web.Response:
        body = {"started": status.started, "state": status.state.value}
        return web.json_response(body, status=200 if status.started else 503)

    async def readyz(_request: web.Request) -> web.Response:
        missing = status.missing()
        body = {"ready": not missing, "state": status.state.value, "missing": missing}
        return web.json_response(body, status=503 if missing else 200)

    app = web.Application()
    pages = {"/metrics": metrics, "/healthz": healthz, "/startedz": startedz, "/readyz": readyz}
    app.add_routes([web.get(path, handler) for path, handler in pages.items()])
    return app


@contextlib.asynccontextmanager
async def serving(status: Status, metrics_port: int, tcp_ports: Sequence[int]) -> AsyncIterator[None]:
    """Serve the probes on all addresses while the block runs.

    Raises:
        ProbesError: the metrics port cannot be listened on.
    """
    async with aiohttp.ClientSession() as http, _listening(application(status, http), metrics_port):
        doors = asyncio.create_task(_tcp_doors(status, tcp_ports))
        try:
            yield
        finally:
            await end(doors)


@contextlib.asynccontextmanager
async def _listening(app: web.Application, port: int) -> AsyncIterator[None]:
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, None, port).start()
        except OSError as error:
            raise ProbesError(f"monitoring.metrics_port: cannot listen on port {port}: {error}") from error
        yield
    finally:
        await runner.cleanup()


async def _tcp_doors(status: Status, ports: Sequence[int]) -> None:
    servers: list[asyncio.Server] = []
    try:
        with status.watch() as changed:
            while True:
                if status.ready and not servers:
                    servers = [server for port in ports if (server := await _door(port))]
                elif not status.ready:
                    _close(servers)
                await changed.wait()
                changed.clear()
    finally:
        _close(servers)


async def _door(port: int) -> asyncio.Server | None:
    try:
        return await asyncio.start_server(lambda _reader, writer: writer.close(), None, port)
    except OSError as error:
        log.warning("cannot open a TCP probe port", port=port, error=str(error))
        return None


def _close(servers: list[asyncio.Server]) -> None:
    while servers:
        servers.pop().close()
