"""Puts the program together: every object is made here, once, and handed to those that need it."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from http import HTTPStatus
from typing import Self

import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import Connection, Engine

from headrace_api.load import OPERATOR_PATH
from headrace_api.wire import WORKER_PATH
from headrace_queue import openapi
from headrace_queue.access import Access
from headrace_queue.aiohttp_errors import OpenAiRequestHandler, openai_errors, tell_request_id
from headrace_queue.clock import LoopClock
from headrace_queue.console.door import Console
from headrace_queue.console.sight import look
from headrace_queue.database.engine import shown, sqlite_url
from headrace_queue.database.opening import open_database
from headrace_queue.demand_teller import DemandTeller
from headrace_queue.dispatch import Dispatcher
from headrace_queue.http.connection import HttpLimits
from headrace_queue.http.server import HttpServer
from headrace_queue.http.tls import Certificate
from headrace_queue.keys.admin import KeyAdmin
from headrace_queue.keys.service import KeyService
from headrace_queue.keys.viewer import Viewer, viewer
from headrace_queue.ledger.bookkeeper import Bookkeeper
from headrace_queue.ledger.deliverer import Deliverer
from headrace_queue.ledger.entry import Entry
from headrace_queue.ledger.ledger import Ledger
from headrace_queue.ledger.metrics import LedgerMetrics, WebhookMetrics
from headrace_queue.ledger.receipts import Receipts
from headrace_queue.ledger.rows import LedgerRows
from headrace_queue.ledger.secrets import RECEIPTS, shared_secret
from headrace_queue.ledger.usage_api import USAGE_PATH, UsageApi
from headrace_queue.ledger.webhook import enqueue
from headrace_queue.logs import RequestLog
from headrace_queue.metrics import LoadCollector, Metrics, OutlookCollector
from headrace_queue.models import ModelNames
from headrace_queue.openai_api import OpenAiApi, Parts, json_page, text_page
from headrace_queue.operator_socket import OperatorSocket
from headrace_queue.schedule import Schedule
from headrace_queue.settings import Settings
from headrace_queue.worker_door import WorkerDoor
from headrace_queue.worker_poll import WorkerPoll
from headrace_queue.worker_socket import Replica

_LEDGER_SECONDS = 5
"""How long rows that are not written have when the queue stops: with workers connected, and again after that."""


class QueueServer:
    """A queue that listens on its two ports while the async context lasts."""

    def __init__(
        self,
        settings: Settings,
        registry: CollectorRegistry,
        log: structlog.typing.FilteringBoundLogger,
        access: Access | None = None,
    ) -> None:
        self._settings = settings
        self._log = log
        metrics = Metrics(registry)
        schedule = Schedule(settings.generalist_models, settings.priority_ageing_seconds, settings.affinity_slack)
        names = ModelNames(settings.models, schedule, dict(settings.aliases), expecting=settings.expect_operator)
        clock = LoopClock()
        self._ledger = Ledger(LedgerMetrics(registry), log, self._noticed)
        self._books = Bookkeeper(self._ledger, metrics, clock, time.time)
        self.dispatcher = Dispatcher(schedule, names, settings.limits, self._books, metrics, clock)
        self._names = names
        registry.register(
            LoadCollector(lambda: schedule.load(names.announced()), names.label, lambda: schedule.generalists)
        )
        registry.register(OutlookCollector(self.dispatcher, names.label))
        self.keys = KeyService(settings.keys, settings.worker_token, log)
        pages = {
            b"/healthz": text_page(lambda: (200, "ok")),
            b"/readyz": text_page(self._readiness),
            b"/openapi.json": json_page(openapi.document()),
        }
        self._api = OpenAiApi(
            Parts(self.dispatcher, names, access or self.keys.access, metrics, log, RequestLog(log).add),
            pages,
            settings.waiting_comment_seconds,
        )
        self._teller = DemandTeller(self.dispatcher)
        self._replica = replica = Replica(self.dispatcher, self._teller, secrets.token_hex(8), settings.replicas)
        self._door = WorkerDoor(replica, metrics, log, self.keys.worker_tokens, settings.heartbeat_seconds)
        self._console = Console(
            lambda: look(replica, names, metrics.requests, clock.now),
            self._viewer,
        )
        self._operators = OperatorSocket(self.dispatcher, names, log, replica.id)
        self._registry = registry
        self._runners: list[web.AppRunner] = []
        self._beside: list[asyncio.Task[None]] = []
        self._leaving = AsyncExitStack()
        self._database: Engine | None = None
        self._deliverer: Deliverer | None = None
        self._http: HttpServer | None = None
        self._patience: asyncio.TimerHandle | None = None
        self.port = 0
        self.admin_port = 0
        self.keda_port: int | None = None

    async def __aenter__(self) -> Self:
        settings = self._settings
        url = settings.database_url or sqlite_url(settings.data_folder)
        self._database = await open_database(url, self._log)
        await self.keys.start(self._database)
        await self._open_ledger(self._database)
        try:
            self.port = await self._listen_in_public()
            self.admin_port = await self._listen_for_the_cluster()
            if settings.keda_port is not None:
                self.keda_port = await self._serve_keda(settings.keda_port)
        except OSError:
            await self._stop_beside()
            await self._stop_listening()
            await self.keys.close()
            await self._close_ledger(0)
            raise
        ports = {"port": self.port, "admin_port": self.admin_port, "keda_port": self.keda_port}
        self._log.info("listening", host=settings.host, **ports, database=shown(self._database))
        self.keys.announce()
        self._beside.append(asyncio.create_task(self._teller.run()))
        loop = asyncio.get_running_loop()
        self._patience = loop.call_later(settings.catalogue_seconds, self._stop_expecting)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._patience:
            self._patience.cancel()
        await self._stop_beside()
        await self._ledger.flush(_LEDGER_SECONDS)
        await self._door.close()
        await self._operators.close()
        await self._stop_listening()
        await self.keys.close()
        await self._close_ledger(_LEDGER_SECONDS)
        if self._database:
            self._database.dispose()

    async def drain(self) -> None:
        """Take nothing more in, let what is under way finish, and send operators to the next queue at once."""
        self._log.info("draining", seconds=self._settings.drain_seconds)
        done = asyncio.Event()
        self.dispatcher.drain(self._settings.drain_seconds, done.set)
        await asyncio.gather(done.wait(), self._operators.turn_away())

    async def _serve_keda(self, port: int) -> int:
        from headrace_queue.keda.replicas import AllReplicas, Own  # noqa: PLC0415 - gRPC loads where it is used only
        from headrace_queue.keda.server import serving  # noqa: PLC0415

        settings = self._settings
        own = Own(
            self._replica.id, lambda: self.dispatcher.schedule.load(self._names.announced()), self.dispatcher.watch
        )
        loads = AllReplicas(own, settings.replicas.rpartition(":")[0].strip("[]"), self.admin_port, self._log)
        self._beside.append(asyncio.create_task(loads.run()))
        return await self._leaving.enter_async_context(serving(loads, settings.host, port, self._log))

    async def _stop_beside(self) -> None:
        await self._leaving.aclose()
        for task in self._beside:
            task.cancel()
        await asyncio.gather(*self._beside, return_exceptions=True)

    async def _open_ledger(self, database: Engine) -> None:
        secret = self._settings.receipt_secret
        if secret is None:
            secret = await asyncio.to_thread(shared_secret, database, RECEIPTS)
        self._books.receipts = Receipts(secret)
        rows = LedgerRows(database)
        webhook = self._settings.webhook
        also = enqueue if webhook else _nothing
        self._ledger.start(lambda entries: rows.write(entries, also))
        if webhook:
            self._deliverer = Deliverer(webhook, database, WebhookMetrics(self._registry), self._log)
            await self._deliverer.start()

    async def _close_ledger(self, seconds: float) -> None:
        await self._ledger.close(seconds)
        if self._deliverer:
            await self._deliverer.close()

    def _noticed(self, new: Sequence[Entry]) -> None:
        self._books.noticed(new, self._names.label)

    def _public_app(self) -> web.Application:
        """What the public port has beside OpenAI's API: a connection that comes here never goes back."""
        app = web.Application(middlewares=[openai_errors], client_max_size=self._settings.max_request_bytes)
        app.on_response_prepare.extend([tell_request_id, _end_connection])
        app.router.add_get(WORKER_PATH, self._door.handle)
        self._console.add_routes(app.router)
        WorkerPoll(self._door).add_routes(app.router)
        app.router.add_get(USAGE_PATH, self._usage().for_keys)
        return app

    def _admin_app(self) -> web.Application:
        app = web.Application(middlewares=[openai_errors])
        app.on_response_prepare.extend([tell_request_id, self._end_connection_of_a_drain])
        app.router.add_get(USAGE_PATH, self._usage().for_all)
        app.router.add_get("/healthz", _answer(lambda: (200, "ok")))
        app.router.add_get("/readyz", _answer(self._readiness))
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get(OPERATOR_PATH, self._operators.handle)
        KeyAdmin(self.keys, self._log).add_routes(app.router)
        return app

    def _usage(self) -> UsageApi:
        if self._database is None:
            raise RuntimeError("the database is open before the ports are")
        return UsageApi(self._database, lambda authorization: self._viewer(authorization).key)

    def _viewer(self, authorization: str) -> Viewer:
        return viewer(self.keys.access, self._settings.keys.admin_key, authorization, time.time())

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

    async def _end_connection_of_a_drain(self, request: web.Request, response: web.StreamResponse) -> None:
        if self.dispatcher.draining:
            await _end_connection(request, response)

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _listen_in_public(self) -> int:
        settings = self._settings
        runner = await self._runner(self._public_app())
        certificate = Certificate(*settings.tls) if settings.tls else None
        limits = HttpLimits(body=settings.max_request_bytes)
        if runner.server is None:
            raise RuntimeError("a runner that is set up has a server")
        elsewhere = partial(
            OpenAiRequestHandler,
            runner.server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]  # which is how it is left out
            max_line_size=limits.head,
            max_field_size=limits.head,
        )
        self._http = HttpServer(self._api, elsewhere, limits, self._log, certificate)
        return await self._http.listen(settings.host, settings.port)

    async def _listen_for_the_cluster(self) -> int:
        runner = await self._runner(self._admin_app())
        await web.TCPSite(runner, self._settings.host, self._settings.admin_port, backlog=1024).start()
        return int(runner.addresses[0][1])

    async def _runner(self, app: web.Application) -> web.AppRunner:
        # A handler whose client leaves is cancelled, so that what it waits for is let go, too.
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1)
        await runner.setup()
        self._runners.append(runner)
        return runner

    async def _stop_listening(self) -> None:
        if self._http:
            await self._http.close()
        for runner in self._runners:
            await runner.cleanup()


async def _end_connection(_: web.Request, response: web.StreamResponse) -> None:
    if response.status != HTTPStatus.SWITCHING_PROTOCOLS:
        response.force_close()
        response.headers["Connection"] = "close"


def _nothing(_connection: Connection, _new: Sequence[Entry]) -> None:
    """Nobody is told of the rows."""


def _answer(state: Callable[[], tuple[int, str]]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(_: web.Request) -> web.Response:
        status, text = state()
        return web.Response(status=status, text=text)

    return handle
