"""A worker's pulling half in this process, between a scripted queue and a scripted engine."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

import aiohttp
import pytest

from headrace_api.wire import Register
from headrace_worker.engine_client import Dialect, EngineClient
from headrace_worker.metrics import Metrics
from headrace_worker.puller import Puller, PullPlan, worker_url
from tests.worker.scripted_engine import ScriptedEngine
from tests.worker.scripted_queue import ScriptedQueue

REGISTER = Register(cpu_count=8, disk_space=500, vram=0, worker="w-1", models=["public-name"], fingerprint="f" * 16)


@dataclass
class Pulling:
    puller: Puller
    metrics: Metrics
    task: asyncio.Task[None]
    registered: list[bool] = field(default_factory=list)


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
    async def start(url: str, slots: int = 4, token: str | None = None) -> AsyncIterator[Pulling]:
        plan = PullPlan(worker_url(url), token, REGISTER, slots, fast_retries=7)
        metrics = Metrics()
        registered: list[bool] = []
        async with aiohttp.ClientSession() as session:
            client = EngineClient(session, engine.url, Dialect("public-name", {"stop": ["</s>"]}))
            puller = Puller(plan, client, metrics, registered.append)
            task = asyncio.create_task(puller.run())
            try:
                yield Pulling(puller, metrics, task, registered)
            finally:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    return start
