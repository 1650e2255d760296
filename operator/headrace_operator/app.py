"""The operator's composition root: every part is made here and handed to those that need it."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

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
from headrace_operator.queue_link import QueueLink
from headrace_operator.reconcile import Reconciler
from headrace_operator.resync import Lists, Resync
from headrace_operator.scaling.autoscaler import Autoscaler
from headrace_operator.settings import Settings
from headrace_operator.work_queue import WorkQueue
from headrace_operator.world import SeenWorld, model_name

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
        world = SeenWorld(watched(pod_monitors=config.pod_monitors))
        metrics = OperatorMetrics(registry, api_metrics, world.models, world.generation)

        async def work(key: Key) -> None:
            await reconciler.reconcile(key)

        queue: WorkQueue[Key] = WorkQueue(work, _HANDS, metrics.work)
        news = LoadNews(world, Autoscaler(time.monotonic, _now, config.queue_url), queue.add)
        reconciler = Reconciler(world, connection, config, _now, queue, news.autoscaler)
        nodes = Nodes(connection, queue.add)
        world.set_nodes(nodes)
        # every replica serves the webhook, so each writes its own certificate into caBundle
        keeper = (
            door.keeper(settings.webhook, replace(connection, may_write=lambda: True)) if settings.webhook else None
        )
        candidate = election.candidate(settings.lease, leadership, connection.requests, registry)
        async with door.serve(settings.webhook, keeper, registry, settings.render.facts):
            try:
                await _run_parts(
                    settings, world, queue, connection, keeper, metrics, nodes, leadership, candidate, news
                )
            finally:
                if candidate:
                    await candidate.release()


async def _run_parts(  # noqa: PLR0913, PLR0917  # the parts
    settings: Settings,
    world: SeenWorld,
    queue: WorkQueue[Key],
    lists: Lists,
    keeper: door.Keeper | None,
    metrics: OperatorMetrics,
    nodes: Nodes,
    leadership: Leadership,
    candidate: election.Candidate | None,
    news: LoadNews,
) -> None:
    link = _link(settings, world, news)

    def heard(key: Key, item: Object, gone: bool) -> None:
        world.heard(key, item, gone=gone)
        queue.add(key)
        if link and item["kind"] == api.KIND:
            link.refresh()

    resync = Resync(world, lists, settings.namespaces, settings.resync_seconds, queue.add, metrics.process.resynced)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    doors = kopf.operator(
        registry=handlers.registry(world, heard, [metrics.api.trace()]),
        namespaces=settings.namespaces,
        clusterwide=not settings.namespaces,
        standalone=True,
        stop_flag=stop,
    )

    async def lead() -> None:
        for model in world.models():
            queue.add(key_of(model))
        await queue.run()

    only_one: list[Callable[[], Awaitable[None]]] = [lead, news.run, partial(news.autoscaler.run, queue.add)]
    only_one += [link.run] if link else []
    parts: list[Awaitable[None]] = [resync.run(), nodes.run()]
    parts += [_when(resync.ready, partial(leadership.while_leading, run)) for run in only_one]
    if candidate:
        parts.append(_when(resync.ready, candidate.run))
    waited_for = {"the watches have not shown everything yet that the API server lists": resync.ready.is_set}
    metrics.process.leader.set_function(leadership.may_write)
    if link:
        metrics.process.queue_connected.set_function(lambda: link.connected)
    if keeper:
        parts.append(keeper.run())
        waited_for["the API server does not trust the webhook's certificate yet"] = keeper.ready.is_set
        metrics.process.certificate(lambda: keeper.expires)
    state = health.Health(metrics.work.running, _HANDS, waited_for)
    async with health.serve(settings.health_port, state, metrics.registry):
        tasks = [asyncio.ensure_future(part) for part in parts]
        try:
            await _first_to_end(asyncio.ensure_future(doors), tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _when(ready: asyncio.Event, run: Callable[[], Awaitable[None]]) -> None:
    """Decide and say nothing before everything has been seen: what is not seen yet would look as if it were missing."""
    await ready.wait()
    await run()


async def _first_to_end(doors: asyncio.Future[None], tasks: Sequence[asyncio.Future[None]]) -> None:
    """Wait for kopf to stop; a part that ends before it has failed, and ends the program with its error."""
    done, _ = await asyncio.wait([doors, *tasks], return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
    if not doors.done():
        doors.cancel()
        raise RuntimeError("a part of the operator ended by itself")


def _link(settings: Settings, world: SeenWorld, news: LoadNews) -> QueueLink | None:
    if settings.queue_admin_url is None:
        return None

    def names() -> list[str]:
        return sorted({name for model in world.models() if (name := model_name(model))})

    return QueueLink(settings.queue_admin_url, names, news.hear)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
