"""The operator's composition root: every part is made here and handed to those that need it."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import kopf
from prometheus_client import CollectorRegistry

from headrace_api import inference_model as api
from headrace_operator import cluster, handlers, health
from headrace_operator.admission import door
from headrace_operator.election import door as election
from headrace_operator.election.leadership import Leadership
from headrace_operator.kinds import POD_MONITOR, key_of, watched
from headrace_operator.load_news import LoadNews
from headrace_operator.metrics import OperatorMetrics
from headrace_operator.metrics.api import ApiMetrics
from headrace_operator.nodes import Nodes
from headrace_operator.observed import Key, Object
from headrace_operator.queue_links import QueueLinks
from headrace_operator.reconcile import Reconciler
from headrace_operator.resync import Lists, Resync
from headrace_operator.scaling.autoscaler import Autoscaler
from headrace_operator.settings import Settings
from headrace_operator.work_queue import WorkQueue
from headrace_operator.world import SeenWorld

_HANDS = 12
"""Models in hand at a time: enough to keep the API server busy, few enough to leave it room for others."""


async def run(settings: Settings) -> None:
    """Run the operator until SIGTERM or SIGINT."""
    leadership = Leadership()
    api_metrics = ApiMetrics(registry := CollectorRegistry())
    async with cluster.connect(
        in_cluster=settings.in_cluster, traces=[api_metrics.trace()], may_write=leadership.may_write
    ) as connection:
        config = settings.render
        if config.pod_monitors and not await connection.serves(POD_MONITOR):
            config = config.model_copy(update={"pod_monitors": False})
        world = SeenWorld(watched(pod_monitors=config.pod_monitors), config.queue_url)
        metrics = OperatorMetrics(registry, api_metrics, world.models, world.generation)

        async def work(key: Key) -> None:
            await reconciler.reconcile(key)

        queue: WorkQueue[Key] = WorkQueue(work, _HANDS, metrics.work)
        queue.close()  # what waited here while another replica leads would look as if nobody worked
        news = LoadNews(world, Autoscaler(time.monotonic, _now, config.queue_url), queue.add)
        reconciler = Reconciler(world, connection, config, _now, queue, news.autoscaler)
        nodes = Nodes(connection, queue.add)
        world.set_nodes(nodes)
        # every replica serves the webhook, so each writes its own certificate into caBundle
        keeper = (
            door.keeper(settings.webhook, replace(connection, may_write=lambda: True)) if settings.webhook else None
        )
        candidate = election.candidate(settings.lease, leadership, connection.requests, registry)
        parts = _Parts(world, queue, connection, news, nodes, keeper, leadership, candidate, metrics)
        async with door.serve(settings.webhook, keeper, registry, settings.render.facts):
            await _run_parts(settings, parts)


@dataclass(frozen=True)
class _Parts:
    """What runs side by side."""

    world: SeenWorld
    queue: WorkQueue[Key]
    lists: Lists
    news: LoadNews
    nodes: Nodes
    keeper: door.Keeper | None
    leadership: Leadership
    candidate: election.Candidate | None
    metrics: OperatorMetrics

    def running(self, ready: asyncio.Event, link: QueueLinks | None) -> list[Awaitable[None]]:
        """All parts but the doors; what decides waits until everything was seen, and until this operator leads."""
        only_one = [self._reconcile_all, link.run] if link else [self._reconcile_all]
        parts: list[Awaitable[None]] = [self.nodes.run()]
        parts += [_when(ready, partial(self.leadership.while_leading, run)) for run in only_one]
        if self.candidate:
            parts.append(_when(ready, self.candidate.run))
        if link:
            parts += [self.news.run(), self.news.autoscaler.run(self.queue.add)]
        if self.keeper:
            parts.append(self.keeper.run())
        return parts

    async def _reconcile_all(self) -> None:
        self.queue.open()
        for model in self.world.models():
            self.queue.add(key_of(model))
        try:
            await self.queue.run()
        finally:
            self.queue.close()

    def waited_for(self, ready: asyncio.Event) -> dict[str, Callable[[], bool]]:
        """What has to hold before this replica is ready, by what to say while it does not."""
        wanted = {"the watches have not shown everything yet that the API server lists": ready.is_set}
        if self.keeper:
            wanted["the API server does not trust the webhook's certificate yet"] = self.keeper.ready.is_set
        return wanted

    def measure(self, link: QueueLinks | None) -> None:
        """Have the metrics ask the parts."""
        process = self.metrics.process
        process.leader.set_function(self.leadership.may_write)
        if link:
            process.queue_connected.set_function(lambda: link.connected)
        if keeper := self.keeper:
            process.certificate(lambda: keeper.expires)


async def _run_parts(settings: Settings, parts: _Parts) -> None:
    world, queue, metrics = parts.world, parts.queue, parts.metrics
    link = _link(settings, world, parts.news)

    def heard(key: Key, item: Object, gone: bool) -> None:
        world.heard(key, item, gone=gone)
        queue.add(key)
        if gone and item["kind"] == api.KIND:  # also where nothing is reconciled, because another replica leads
            parts.news.autoscaler.forget(key)
        if link and item["kind"] == api.KIND:
            link.refresh()

    resync = Resync(
        world, parts.lists, settings.namespaces, settings.resync_seconds, queue.add, metrics.process.resynced
    )
    parts.measure(link)
    state = health.Health(metrics.work.running, _HANDS, parts.waited_for(resync.ready), deaf=resync.deaf_seconds)
    async with health.serve(settings.health_port, state, metrics.registry):
        running = [resync.run(), *parts.running(resync.ready, link)]
        tasks = [asyncio.ensure_future(part) for part in running]
        stop = asyncio.Event()
        doors = handlers.registry(parts.world, heard, resync.listed_anew)
        watching = asyncio.ensure_future(_watches(settings, doors, stop))
        try:
            await _first_to_end((asyncio.ensure_future(stop.wait()), watching), tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if parts.candidate:
                await parts.candidate.release()  # nothing writes any more; kopf takes seconds to end its watches
            stop.set()
        await watching
        asyncio.get_running_loop().set_exception_handler(at_the_end)


def at_the_end(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What asyncio is told of errors once nothing is done any more: of its own closing of generators they say nothing.

    Kopf leaves those of its watches open. asyncio then closes all of them at the same time, so that now and then one
    finds another, which it is made of, closing already.
    """
    if "asyncgen" not in context:
        loop.default_exception_handler(context)


def _watches(settings: Settings, doors: kopf.OperatorRegistry, stop: asyncio.Event) -> Awaitable[None]:
    """Kopf's watches, until SIGTERM or SIGINT, which set `stop`."""
    kopf.on.startup(registry=doors, id="signals")(partial(_stop_on_signals, stop))
    return kopf.operator(
        registry=doors,
        namespaces=settings.namespaces,
        clusterwide=not settings.namespaces,
        standalone=True,
        stop_flag=stop,
    )


async def _when(ready: asyncio.Event, run: Callable[[], Awaitable[None]]) -> None:
    """Decide and say nothing before everything has been seen: what is not seen yet would look as if it were missing."""
    await ready.wait()
    await run()


async def _stop_on_signals(stop: asyncio.Event, **_: Any) -> None:
    """Take the signals over from kopf, which has its own ways to stop: first the writing ends, then the watching."""
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)


async def _first_to_end(ends: Sequence[asyncio.Future[Any]], tasks: Sequence[asyncio.Future[None]]) -> None:
    """Wait for one of `ends`; a part that ends before has failed, and ends the program with its error."""
    done, _ = await asyncio.wait([*ends, *tasks], return_when=asyncio.FIRST_COMPLETED)
    if any(task.cancelled() for task in done):  # by kopf, which cancels every task that it finds when it stops
        return
    for task in done:
        task.result()
    if not done & set(ends):
        raise RuntimeError("a part of the operator ended by itself")


def _link(settings: Settings, world: SeenWorld, news: LoadNews) -> QueueLinks | None:
    if settings.queue_admin_url is None:
        return None

    return QueueLinks(settings.queue_admin_url, world.catalogue, news.hear)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
