"""Serves with an engine that is ready: offers it to the queue, learns how much it bears, and notices when it hangs."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

import structlog

from headrace_api.worker_config import WorkerConfig, fingerprint
from headrace_worker import capacity, health
from headrace_worker.decision import Decision
from headrace_worker.engine_client import EngineClient
from headrace_worker.learner import Memory, learn
from headrace_worker.parts import Adapters
from headrace_worker.settings import Settings
from headrace_worker.status import Offer, Status
from headrace_worker.watchdog import Sign, Watch

TRIED_S = 15.0
"""How long a ready worker may take to be registered before its probes say that it has started without."""

log = structlog.get_logger()


class Service:
    """One engine's."""

    def __init__(
        self, config: WorkerConfig, settings: Settings, status: Status, client: EngineClient, decided: Decision
    ) -> None:
        self._settings = settings
        self._status = status
        self.client = client
        self._api = decided.api
        self._given = config.queue.max_concurrent_queries
        self._memory = Memory(settings.cache / "capacity.json", fingerprint(config.generator))
        self._known = capacity.first(decided.slots, settings.inter_token_seconds, self._memory.recall())

    def offer(self) -> None:
        """Let the queue's requests come as soon as the worker's state lets them."""
        self._status.set_engine_healthy(True)
        self._status.set_offer(Offer(self.client, self._given or self._known.limit))

    async def until_hung(self, adapters: Adapters) -> str:
        """Look after everything that goes on beside requests; returns why the engine must be given up."""
        tried = asyncio.get_running_loop().call_later(TRIED_S, self._status.set_tried)
        works = [adapters.keep(self.client, self._status.set_adapters)]
        works += [] if self._given else [learn(self._status, self._known, self._memory)]
        beside = [asyncio.create_task(_logged(work)) for work in works]
        try:
            return await health.until_hung(self._look, self._status.set_engine_healthy, self._settings.hang_seconds)
        finally:
            tried.cancel()
            for task in beside:
                task.cancel()

    async def _look(self, before: Watch) -> Sign:
        """One sign of the engine; its metrics are asked for only where they matter."""
        client, api = self.client, self._api
        answers, metrics = await client.healthy(), None
        # Without metrics nothing can be seen of an answer that is not streamed until it is complete.
        under_way = self._status.under_way if api.metrics_path else self._status.streams
        if api.metrics_path and under_way and client.heard_at < before.seen_at:
            metrics = await client.metrics(api.metrics_path, api.metrics_prefix)
        return Sign(time.monotonic(), answers, under_way, client.heard_at, metrics)


async def _logged(work: Coroutine[Any, Any, None]) -> None:
    """Work beside serving, which goes on without it."""
    try:
        await work
    except Exception:
        log.exception("adapters, or how many requests are taken at a time, stay as they are")
