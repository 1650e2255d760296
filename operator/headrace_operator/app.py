"""The operator's composition root: every part is made here and handed to those that need it."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime

import kopf
from prometheus_client import CollectorRegistry

from headrace_api import inference_model as api
from headrace_api.load import ModelLoad
from headrace_operator import cluster, handlers, health
from headrace_operator.admission import door
from headrace_operator.kinds import POD_MONITOR, key_of, watched
from headrace_operator.metrics import ModelsCollector, ReconcileMetrics
from headrace_operator.observed import Key, Object
from headrace_operator.queue_link import QueueLink
from headrace_operator.reconcile import Reconciler
from headrace_operator.resync import Lists, Resync
from headrace_operator.settings import Settings
from headrace_operator.work_queue import WorkQueue
from headrace_operator.world import SeenWorld, model_name

_HANDS = 12
"""Models in hand at a time: enough to keep the API server busy, few enough to leave it room for others."""


async def run(settings: Settings) -> None:
    """Run the operator until SIGTERM or SIGINT."""
    async with cluster.connect(in_cluster=settings.in_cluster) as connection:
        config = settings.render
        if config.pod_monitors and not await connection.serves(POD_MONITOR):
            config = config.model_copy(update={"pod_monitors": False})
        world = SeenWorld(watched(pod_monitors=config.pod_monitors))
        registry = CollectorRegistry()

        async def work(key: Key) -> None:
            await reconcile(key)

        queue: WorkQueue[Key] = WorkQueue(work, _HANDS)
        reconciler = Reconciler(world, connection, config, _now, queue)
        reconcile = ReconcileMetrics(registry).measured(reconciler.reconcile)
        registry.register(ModelsCollector(world.models, lambda: len(queue)))
        keeper = door.keeper(settings.webhook, connection) if settings.webhook else None
        async with door.serve(settings.webhook, keeper, registry, settings.render.facts):
            await _run_parts(settings, world, queue, connection, keeper, registry)


async def _run_parts(  # noqa: PLR0913, PLR0917  # the parts
    settings: Settings,
    world: SeenWorld,
    queue: WorkQueue[Key],
    lists: Lists,
    keeper: door.Keeper | None,
    registry: CollectorRegistry,
) -> None:
    link = _link(settings, world, queue)

    def heard(key: Key, item: Object, gone: bool) -> None:
        world.heard(key, item, gone=gone)
        queue.add(key)
        if link and item["kind"] == api.KIND:
            link.refresh()

    resync = Resync(world, lists, settings.namespaces, settings.resync_seconds, queue.add)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    doors = kopf.operator(
        registry=handlers.registry(world, heard),
        namespaces=settings.namespaces,
        clusterwide=not settings.namespaces,
        standalone=True,
        stop_flag=stop,
    )
    parts: list[Awaitable[None]] = [resync.run(), _when(resync.ready, queue.run)]
    if link:
        parts.append(_when(resync.ready, link.run))
    waited_for = [resync.ready]
    if keeper:
        parts.append(keeper.run())
        waited_for.append(keeper.ready)
    async with health.serve(settings.health_port, lambda: all(event.is_set() for event in waited_for), registry):
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


def _link(settings: Settings, world: SeenWorld, queue: WorkQueue[Key]) -> QueueLink | None:
    if settings.queue_admin_url is None:
        return None
    last: dict[str, ModelLoad] = {}

    def names() -> list[str]:
        return sorted({name for model in world.models() if (name := model_name(model))})

    def on_load(load: Mapping[str, ModelLoad]) -> None:
        changed = {name for name in {*last, *load} if last.get(name) != load.get(name)}
        last.clear()
        last.update(load)
        world.set_load(dict(load))
        for model in world.models():
            if model_name(model) in changed:
                queue.add(key_of(model))

    return QueueLink(settings.queue_admin_url, names, on_load)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
