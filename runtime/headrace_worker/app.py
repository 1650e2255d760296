"""Puts a worker together: facts, status, probes, the connection to the queue, and the life in which they meet."""

import asyncio
import signal
from pathlib import Path

import aiohttp

from headrace_api.wire import Register
from headrace_api.worker_config import WorkerConfig, fingerprint
from headrace_worker import facts, probes
from headrace_worker.adapters.part import WithAdapters
from headrace_worker.adapters.routes import whole_name
from headrace_worker.facts import Machine
from headrace_worker.metrics import Metrics
from headrace_worker.parts import Parts
from headrace_worker.puller import Puller, PullPlan, worker_url
from headrace_worker.runtime_env.part import Packages
from headrace_worker.settings import Settings
from headrace_worker.status import Status
from headrace_worker.store.part import ModelStore
from headrace_worker.worker import Worker


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
    )
    return PullPlan(worker_url(queue.url), token, register, queue.http_request_retries)


def standard_parts(config: WorkerConfig, settings: Settings, path: Path | None) -> Parts:
    """What a worker's life is made of; `path` is the configuration's file, whose adapters are followed.

    Raises:
        SettingsError: an environment variable is not usable.
    """
    store = ModelStore(settings.engine_environment)
    return Parts(
        fetch=store,
        prepare_environment=Packages(settings.programs.python, settings.cache),
        adapters=WithAdapters(config.model_name, path, store.adapter),
    )


async def run(config: WorkerConfig, settings: Settings, token: str | None, parts: Parts | None = None) -> int:
    """Run the worker until SIGTERM or SIGINT, or until it fails; returns the exit status.

    Raises:
        EngineConfigError: the configuration asks for something that cannot be done.
        ProbesError: the metrics port cannot be listened on.
    """
    asked_to_stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, asked_to_stop.set)
    machine = await asyncio.to_thread(facts.machine, settings.model_cache)
    status = Status(Metrics())
    puller = Puller(pull_plan(config, settings, token, machine), status)
    # A connection for each request: llama.cpp closes one after a stream, perhaps just as the next request is sent,
    # which looks like the engine's death. On loopback a new one costs next to nothing.
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    timeout = aiohttp.ClientTimeout(total=None)
    async with (
        probes.serving(status, config.monitoring.metrics_port, config.monitoring.tcp_probes),
        aiohttp.ClientSession(connector=connector, timeout=timeout) as http,
    ):
        worker = Worker(
            config,
            settings,
            parts or Parts(),
            status,
            puller,
            http,
            asked_to_stop,
            nvidia_gpus=len(machine.nvidia.gpus),
        )
        return await worker.live()
