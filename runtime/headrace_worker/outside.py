"""Whom a worker is in touch with: its queue, those who probe it, and its engine once that runs.

All of this needs aiohttp, which loads for a quarter of a second; `worker` has its engine started before.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial

import aiohttp
import structlog

from headrace_api.wire import Register
from headrace_api.worker_config import WorkerConfig, fingerprint
from headrace_worker import engines, facts, health, probes, warm
from headrace_worker.adapters.routes import whole_name
from headrace_worker.decision import Decision
from headrace_worker.engine_client import Dialect, EngineClient
from headrace_worker.engine_metrics import Source
from headrace_worker.engine_process import EngineExitedError, EngineProcess
from headrace_worker.facts import Machine, NvidiaFacts
from headrace_worker.life import Cause, End
from headrace_worker.puller import PullPlan, worker_url
from headrace_worker.replicas import Replicas
from headrace_worker.service import Service
from headrace_worker.settings import Settings
from headrace_worker.status import Status
from headrace_worker.transports import choice

DYING_S = 0.5
"""So long after its connection broke it is waited for an engine's end: that says more."""

log = structlog.get_logger()


@dataclass(frozen=True)
class Outside:
    """The connections of one worker."""

    config: WorkerConfig
    settings: Settings
    status: Status
    http: aiohttp.ClientSession
    puller: Replicas
    pulling: asyncio.Task[None]
    """Never ends by itself."""
    leaving: contextlib.AsyncExitStack
    """What is to be done at the end."""

    async def load(self, engine: EngineProcess, decided: Decision) -> None:
        """Wait until the engine answers.

        Raises:
            End: it has ended.
        """
        if decided.api.metrics_path:
            url = engine.base_url + decided.api.metrics_path
            self.status.engine_metrics = Source(url, self.config.model_name, decided.generator.type)
        began = time.monotonic()
        try:
            await engine.wait_healthy(partial(health.answers, self.http, engine.base_url))
        except EngineExitedError as error:
            raise End(Cause.ENGINE_EXITED) from error
        seconds = time.monotonic() - began
        self.status.metrics.engine_start_seconds.set(seconds)
        log.info("the engine answers", seconds=round(seconds, 1))

    async def warm(self, engine: EngineProcess, decided: Decision) -> None:
        """Have the engine give its first token.

        Raises:
            End: it does not.
        """
        began = time.monotonic()
        try:
            await warm.first_token(self.http, engine.base_url, decided.api.warm, self.config.model_name)
        except warm.WarmUpError as error:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DYING_S):
                    await engine.wait()
            cause = Cause.NOT_WARMED if engine.running else Cause.ENGINE_EXITED
            raise End(cause, str(error)) from error
        log.info("the engine is ready", first_token_seconds=round(time.monotonic() - began, 3))

    async def service(self, engine: EngineProcess, decided: Decision) -> Service:
        """What serves requests with an engine that has given its first token."""
        name, generation = self.config.model_name, decided.generator.generation
        dialect = Dialect(name, decided.request_defaults, generation, decided.api, decided.routes)
        transport = await choice.opened(self.http, engine.base_url, decided.api)
        self.leaving.push_async_callback(transport.close)
        client = EngineClient(self.http, engine.base_url, dialect, transport)
        return Service(self.config, self.settings, self.status, client, decided)


def pull_plan(config: WorkerConfig, settings: Settings, token: str | None, machine: Machine) -> PullPlan:
    """What the connection to the queue needs to know."""
    queue = config.queue
    register = Register(
        **facts.registration(machine, settings.ln_url).model_dump(),
        worker=settings.worker_name,
        models=[config.model_name],
        adapters=[whole_name(config.model_name, adapter.name) for adapter in config.generator.adapters],
        capacity=queue.max_concurrent_queries,
        fingerprint=fingerprint(config.generator),
        tags=queue.tags,
        hostings=queue.hostings,
        shares=True,
        continues=engines.continues(config.generator),
    )
    return PullPlan(worker_url(queue.url), token, register, queue.http_request_retries, settings.queue_tls)


@contextlib.asynccontextmanager
async def connected(
    config: WorkerConfig, settings: Settings, token: str | None, nvidia: NvidiaFacts, status: Status
) -> AsyncIterator[Outside]:
    """Be in touch while the block runs.

    Raises:
        ProbesError: the metrics port cannot be listened on.
    """
    # A connection for each request: llama.cpp closes one after a stream, perhaps just as the next request is sent,
    # which looks like the engine's death. On loopback a new one costs next to nothing.
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    timeout = aiohttp.ClientTimeout(total=None)
    async with (
        probes.serving(status, config.monitoring.metrics_port, config.monitoring.tcp_probes),
        aiohttp.ClientSession(connector=connector, timeout=timeout) as http,
        contextlib.AsyncExitStack() as leaving,
    ):
        machine = await asyncio.to_thread(facts.machine, nvidia, settings.model_cache)
        puller = Replicas(pull_plan(config, settings, token, machine), status)
        pulling = asyncio.create_task(puller.run())
        try:
            yield Outside(config, settings, status, http, puller, pulling, leaving)
        finally:
            pulling.cancel()
            await asyncio.gather(pulling, return_exceptions=True)
