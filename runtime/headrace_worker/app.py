"""The worker's life: starting -> ready -> draining -> stopped, or failed when the engine dies. All parts meet here."""

import asyncio
import contextlib
import signal
import sys
import time
from dataclasses import dataclass
from typing import Any

import aiohttp
import structlog

from headrace_api.wire import Register
from headrace_api.worker_config import WorkerConfig, fingerprint
from headrace_worker import facts, health, memory, probes, termination
from headrace_worker.engine_client import EngineClient
from headrace_worker.engine_process import EngineExitedError, EngineProcess, exit_text, free_port
from headrace_worker.engines import choose, installed
from headrace_worker.engines.protocol import Engine, EngineCommand, EngineFacts
from headrace_worker.metrics import Metrics
from headrace_worker.puller import Puller, PullPlan, worker_url
from headrace_worker.settings import Settings
from headrace_worker.status import State, Status

_ENGINE_STOP_S = 3.0
_LOST_JOBS_S = 2.0
_TRIED_S = 15.0
"""How long a worker may take to be registered before its probes say that it has started without."""

log = structlog.get_logger()


@dataclass(frozen=True)
class Plan:
    """All that is decided before anything is started."""

    config: WorkerConfig
    engine: Engine
    command: EngineCommand
    port: int
    pull: PullPlan
    notes: tuple[str, ...] = ()
    """How the engine was chosen, where the configuration does not name it."""


def plan(config: WorkerConfig, settings: Settings, token: str | None) -> Plan:
    """Decide what to start.

    Raises:
        EngineConfigError: the engine cannot do what the configuration asks.
    """
    generator, queue = config.generator, config.queue
    chosen = choose(generator, installed(settings.vllm_python))
    engine = chosen.engine
    nvidia = facts.nvidia()
    port = free_port()
    weights = engine.locate(chosen.generator)
    fit = memory.fitted(chosen.generator, chosen.kind, weights, settings.engine_environment)
    command = engine.command(
        fit.generator,
        EngineFacts(
            weights=weights,
            served_name=config.model_name,
            port=port,
            python=sys.executable,
            vllm_python=settings.vllm_python,
        ),
    )
    register = Register(
        **facts.registration(nvidia).model_dump(),
        worker=settings.worker_name,
        models=[config.model_name],
        fingerprint=fingerprint(generator),
        tags=queue.tags,
        hostings=queue.hostings,
    )
    slots = queue.max_concurrent_queries or engine.slots(fit.generator)
    pull = PullPlan(worker_url(queue.url), token, register, slots, queue.http_request_retries)
    return Plan(config, engine, command, port, pull, (*chosen.notes, *fit.reasons))


async def run(plan: Plan, settings: Settings) -> int:
    """Run the worker until SIGTERM or SIGINT, or until its engine dies; returns the exit status."""
    metrics = Metrics()
    metrics.slots.set(plan.pull.slots)
    status = Status(metrics)
    monitoring = plan.config.monitoring
    asked_to_stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, asked_to_stop.set)
    async with probes.serving(status, monitoring.metrics_port, monitoring.tcp_probes):
        for note in plan.notes:
            log.info(note)
        log.info("starting the engine", argv=plan.command.argv)
        engine = await EngineProcess.start(
            plan.command, plan.port, settings.engine_environment, lambda line: _log_engine(status, line)
        )
        try:
            return await _Worker(plan, settings, status, engine, asked_to_stop).live()
        finally:
            await engine.stop(0)


def _log_engine(status: Status, line: str) -> None:
    """While it serves, an engine may write of requests; those are never logged below debug."""
    (log.info if status.state is State.STARTING else log.debug)("engine", line=line)


class _Worker:
    """A worker whose engine process has been started."""

    def __init__(
        self, plan: Plan, settings: Settings, status: Status, engine: EngineProcess, asked_to_stop: asyncio.Event
    ) -> None:
        self._plan = plan
        self._settings = settings
        self._status = status
        self._engine = engine
        self._asked_to_stop = asked_to_stop

    async def live(self) -> int:
        # A connection for each request: llama.cpp closes one after a stream, perhaps just as the next request is sent,
        # which looks like the engine's death. On loopback a new one costs next to nothing.
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None)) as session:
            return await self._start(session)

    async def _start(self, session: aiohttp.ClientSession) -> int:
        began = time.monotonic()
        healthy = asyncio.create_task(self._engine.wait_healthy(session))
        await self._first_of(healthy)
        if self._asked_to_stop.is_set():
            healthy.cancel()
            return await self._stop_engine("before its engine answered", time.monotonic() - began)
        try:
            await healthy
        except EngineExitedError:
            return await self._fail_exited("before it was ready")
        seconds = time.monotonic() - began
        log.info("the engine is ready", seconds=round(seconds, 1))
        self._status.metrics.engine_start_seconds.set(seconds)
        self._status.set_engine_healthy(True)
        self._status.set_state(State.READY)
        return await self._serve(session)

    async def _serve(self, session: aiohttp.ClientSession) -> int:
        config = self._plan.config
        defaults = self._plan.engine.request_defaults(config.generator)
        client = EngineClient(session, self._engine.base_url, config.model_name, defaults, config.generator.generation)
        puller = Puller(self._plan.pull, client, self._status.metrics, self._status.set_registered)
        pulling = asyncio.create_task(puller.run())
        hung = asyncio.create_task(
            health.until_hung(client.healthy, lambda: client.heard_at, self._status.set_engine_healthy)
        )
        exited = asyncio.create_task(self._engine.wait())
        refused = asyncio.create_task(puller.until_refused())
        tried = asyncio.get_running_loop().call_later(_TRIED_S, self._status.set_tried)
        # only where somebody starts it anew, with the token that is then right: Kubernetes
        waited_for = (pulling, exited, hung, *((refused,) if self._settings.termination_log else ()))
        try:
            await self._first_of(*waited_for)
            if pulling.done():
                await pulling  # it never ends by itself: this raises what went wrong
            if refused.done() and not self._asked_to_stop.is_set():
                await self._engine.stop(_ENGINE_STOP_S)
                return self._fail(refused.result())
            return await self._end(puller, exited, hung)
        finally:
            tried.cancel()
            for task in (hung, pulling, exited, refused):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    async def _end(self, puller: Puller, exited: asyncio.Task[int], hung: asyncio.Task[float]) -> int:
        if not exited.done() and hung.done():
            return await self._kill_hung(puller, hung.result())
        if not exited.done():
            self._status.set_state(State.DRAINING)
            log.info("stopping: finishing the requests under way", grace_seconds=self._settings.grace_seconds)
            drain = asyncio.create_task(puller.drain("the worker is stopping", self._settings.grace_seconds))
            await asyncio.wait({drain, exited}, return_when=asyncio.FIRST_COMPLETED)
            if not exited.done():
                return await self._stop_engine("while serving")
            drain.cancel()
        await self._account_for_jobs(puller)
        return await self._fail_exited("while serving")

    async def _kill_hung(self, puller: Puller, silent_s: float) -> int:
        message = f"the engine has not answered its health check for {silent_s:.0f} s"
        log.error("killing the engine", reason=message)
        # In this order: the queue is told that no more is taken before the first job is handed back.
        await asyncio.gather(self._account_for_jobs(puller), self._engine.stop(0))
        return self._fail(message)

    async def _account_for_jobs(self, puller: Puller) -> None:
        self._status.set_engine_healthy(False)
        # A dead process's connections are reset: each job ends by itself and says what became of it.
        await puller.drain("the engine has died", _LOST_JOBS_S)

    async def _first_of(self, *tasks: asyncio.Task[Any]) -> None:
        asked = asyncio.create_task(self._asked_to_stop.wait())
        await asyncio.wait({asked, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()

    async def _stop_engine(self, when: str, seconds: float | None = None) -> int:
        """End as asked; `when` is for a pod that stays: then it was the kubelet that asked, because of a probe."""
        self._status.set_state(State.DRAINING)
        await self._engine.stop(_ENGINE_STOP_S)
        self._status.set_state(State.STOPPED)
        after = "" if seconds is None else f", after {seconds:.0f} s"
        if self._settings.termination_log:
            what = f"the worker was told to stop {when}{after}"
            termination.write(self._settings.termination_log, what, self._engine.tail)
        log.info("stopped")
        return 0

    async def _fail_exited(self, when: str) -> int:
        return self._fail(f"the engine {exit_text(await self._engine.wait())} {when}")

    def _fail(self, message: str) -> int:
        self._status.set_state(State.FAILED)
        log.error(message, last_lines=self._engine.tail)
        if self._settings.termination_log:
            termination.write(self._settings.termination_log, message, self._engine.tail)
        return 1
