"""A worker's pulling half in this process, between a scripted queue and a scripted engine."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace

import aiohttp
import pytest

from headrace_api.wire import Register
from headrace_worker.engine_client import Dialect, EngineClient
from headrace_worker.engines.protocol import Counting, text_api
from headrace_worker.life import State
from headrace_worker.metrics import Metrics
from headrace_worker.puller import PullPlan, worker_url
from headrace_worker.replicas import Replicas
from headrace_worker.status import Offer, Status
from headrace_worker.transports.http import Http
from headrace_worker.transports.multiplexed import Multiplexed
from tests.worker.scripted_engine import ScriptedEngine
from tests.worker.scripted_queue import ScriptedQueue

REGISTER = Register(
    cpu_count=8,
    disk_space=500,
    vram=0,
    worker="w-1",
    models=["public-name"],
    fingerprint="f" * 16,
    shares=True,
)


@dataclass
class Pulling:
    puller: Replicas
    status: Status
    task: asyncio.Task[None]
    registered: list[bool] = field(default_factory=list)
    """What came after one another."""

    async def note(self) -> None:
        with self.status.watch() as changed:
            while True:
                if [self.status.registered] != (self.registered[-1:] or [False]):
                    self.registered.append(self.status.registered)
                await changed.wait()
                changed.clear()


@pytest.fixture
async def queue() -> AsyncIterator[ScriptedQueue]:
    async with ScriptedQueue().serving() as queue:
        yield queue


@pytest.fixture
async def engine() -> AsyncIterator[ScriptedEngine]:
    async with ScriptedEngine().serving() as engine:
        yield engine


@pytest.fixture
def pulling(engine: ScriptedEngine) -> Callable[..., AbstractAsyncContextManager[Pulling]]:
    @contextlib.asynccontextmanager
    async def start(
        url: str,
        slots: int = 4,
        token: str | None = None,
        ready: bool = True,
        tls: ssl.SSLContext | None = None,
    ) -> AsyncIterator[Pulling]:
        plan = PullPlan(worker_url(url), token, REGISTER, fast_retries=7, tls=tls)
        status = Status(Metrics())
        async with aiohttp.ClientSession() as session:
            transport = Multiplexed(session, engine.url) if engine.multiplexed else Http(engine.url)
            dialect = Dialect("public-name", {"stop": ["</s>"]}, api=replace(text_api(), counting=Counting()))
            client = EngineClient(session, engine.url, dialect, transport)
            status.set_offer(Offer(client, slots))
            if ready:
                status.set_state(State.READY)
            puller = Replicas(plan, status)
            tasks = [asyncio.create_task(puller.run())]
            running = Pulling(puller, status, tasks[0])
            tasks.append(asyncio.create_task(running.note()))
            try:
                yield running
            finally:
                for task in tasks:
                    task.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await task
                await transport.close()

    return start
