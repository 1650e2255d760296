"""Puts the program together: every object is made here, once, and handed to those that need it."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from http import HTTPStatus
from typing import Self

import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from headrace_api.load import OPERATOR_PATH
from headrace_api.wire import WORKER_PATH
from headrace_queue.accounts import Accounts
from headrace_queue.demand_teller import DemandTeller
from headrace_queue.dispatch import Dispatcher
from headrace_queue.metrics import LoadCollector, Metrics
from headrace_queue.models import ModelNames
from headrace_queue.openai_api import OpenAiApi, openai_errors
from headrace_queue.operator_socket import OperatorSocket
from headrace_queue.schedule import Schedule
from headrace_queue.settings import Settings
from headrace_queue.worker_door import WorkerDoor
from headrace_queue.worker_socket import Replica


class QueueServer:
    """A queue that listens on its two ports while the async context lasts."""

    def __init__(
        self, settings: Settings, registry: CollectorRegistry, log: structlog.typing.FilteringBoundLogger
    ) -> None:
        self._settings = settings
        self._log = log
        metrics = Metrics(registry)
        schedule = Schedule(settings.generalist_models)
        names = ModelNames(settings.models, schedule, expecting=settings.expect_operator)
        self.dispatcher = Dispatcher(schedule, names, settings.limits, Accounts(metrics), metrics)
        self._names = names
        registry.register(
            LoadCollector(lambda: schedule.load(names.announced()), names.label, lambda: schedule.generalists)
        )
        self._api = OpenAiApi(self.dispatcher, names, metrics, log, settings.max_request_bytes)
        self._schedule = schedule
        self._teller = DemandTeller(self.dispatcher)
        self._replica = replica = Replica(self.dispatcher, self._teller, secrets.token_hex(8), settings.replicas)
        self._door = WorkerDoor(replica, metrics, log, settings.worker_token, settings.heartbeat_seconds)
        self._operators = OperatorSocket(self.dispatcher, names, log, replica.id)
        self._registry = registry
        self._runners: list[web.AppRunner] = []
        self._beside: list[asyncio.Task[None]] = []
        self._leaving = AsyncExitStack()
        self._patience: asyncio.TimerHandle | None = None
        self.port = 0
        self.admin_port = 0
        self.keda_port: int | None = None

    async def __aenter__(self) -> Self:
        settings = self._settings
        try:
            self.port = await self._listen(self._public_app(), settings.port)
            self.admin_port = await self._listen(self._admin_app(), settings.admin_port)
            if settings.keda_port is not None:
                self.keda_port = await self._serve_keda(settings.keda_port)
        except OSError:
            await self._stop_listening()
            raise
        self._log.info(
            "listening", host=settings.host, port=self.port, admin_port=self.admin_port, keda_port=self.keda_port
        )
        if settings.worker_token is None:
            self._log.warning("any worker may join: no --worker-token is set")
        self._beside.append(asyncio.create_task(self._teller.run()))
        loop = asyncio.get_running_loop()
        self._patience = loop.call_later(settings.catalogue_seconds, self._stop_expecting)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._patience:
            self._patience.cancel()
        await self._leaving.aclose()
        for task in self._beside:
            task.cancel()
        await asyncio.gather(*self._beside, return_exceptions=True)
        await self._door.close()
        await self._operators.close()
        await self._stop_listening()

    async def drain(self) -> None:
        """Take nothing more in, let what is under way finish, and send operators to the next queue at once."""
        self._log.info("draining", seconds=self._settings.drain_seconds)
        await asyncio.gather(self.dispatcher.drain(self._settings.drain_seconds), self._operators.turn_away())

    async def _serve_keda(self, port: int) -> int:
        from headrace_queue.keda.replicas import AllReplicas, Own  # noqa: PLC0415 - gRPC loads where it is used only
        from headrace_queue.keda.server import serving  # noqa: PLC0415

        settings = self._settings
        own = Own(self._replica.id, lambda: self._schedule.load(self._names.announced()), self.dispatcher.watch)
        loads = AllReplicas(own, settings.replicas.rpartition(":")[0].strip("[]"), self.admin_port, self._log)
        self._beside.append(asyncio.create_task(loads.run()))
        return await self._leaving.enter_async_context(serving(loads, settings.host, port, self._log))

    def _public_app(self) -> web.Application:
        app = web.Application(middlewares=[openai_errors], client_max_size=self._settings.max_request_bytes)
        self._api.add_routes(app.router)
        self._add_health(app)
        app.router.add_get(WORKER_PATH, self._door.handle)
        return app

    def _admin_app(self) -> web.Application:
        app = web.Application()
        self._add_health(app)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get(OPERATOR_PATH, self._operators.handle)
        return app

    def _add_health(self, app: web.Application) -> None:
        app.on_response_prepare.append(self._end_connection)
        app.router.add_get("/healthz", _answer(lambda: (200, "ok")))
        app.router.add_get("/readyz", _answer(self._readiness))

    def _readiness(self) -> tuple[int, str]:
        if self.dispatcher.draining:
            return 503, "draining"
        if self._names.expecting:
            return 503, "no catalogue has come from an operator yet"
        return 200, "ready"

    def _stop_expecting(self) -> None:
        if self._names.expecting:
            seconds = self._settings.catalogue_seconds
            self._log.warning("no catalogue came from an operator: ready without one", waited_seconds=seconds)
            self.dispatcher.settle()

    async def _end_connection(self, _: web.Request, response: web.StreamResponse) -> None:
        # A client that keeps its connection while this queue drains would try again here, and not at the next queue.
        if self.dispatcher.draining and response.status != HTTPStatus.SWITCHING_PROTOCOLS:
            response.force_close()
            response.headers["Connection"] = "close"

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _listen(self, app: web.Application, port: int) -> int:
        # A handler whose client leaves is cancelled, so that the client's job is, too.
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1)
        await runner.setup()
        self._runners.append(runner)
        await web.TCPSite(runner, self._settings.host, port, backlog=1024).start()
        return int(runner.addresses[0][1])

    async def _stop_listening(self) -> None:
        for runner in self._runners:
            await runner.cleanup()


def _answer(state: Callable[[], tuple[int, str]]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(_: web.Request) -> web.Response:
        status, text = state()
        return web.Response(status=status, text=text)

    return handle
