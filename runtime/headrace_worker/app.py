"""Puts a worker together: its parts, its status, its connections, and the life in which they meet."""

import asyncio
import signal
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from headrace_api.worker_config import WorkerConfig
from headrace_worker import facts
from headrace_worker.adapters.part import WithAdapters
from headrace_worker.gpu_time import SharedTime
from headrace_worker.metrics import Metrics
from headrace_worker.parts import Parts
from headrace_worker.runtime_env.part import Packages
from headrace_worker.settings import Settings
from headrace_worker.status import Status
from headrace_worker.store.part import ModelStore
from headrace_worker.worker import Worker

if TYPE_CHECKING:  # see `worker.HEAD_START_S`
    from headrace_worker.outside import Outside


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
    nvidia = await asyncio.to_thread(facts.nvidia_here)
    status = Status(Metrics(), gpu_time=SharedTime(len(nvidia.gpus)))

    def connected() -> "AbstractAsyncContextManager[Outside]":
        from headrace_worker import outside  # noqa: PLC0415 (loads while the engine does)

        return outside.connected(config, settings, token, nvidia, status)

    worker = Worker(config, settings, parts or Parts(), status, connected, asked_to_stop, len(nvidia.gpus))
    return await worker.live()
