"""Leads a worker through its life (`headrace_worker.life`): does what each state is for, and ends it as its cause asks.

The connection to the queue is there from the beginning, so that a refused token is known before gigabytes are fetched.
"""

import asyncio
import contextlib
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import aiohttp
import structlog

from headrace_api.worker_config import WorkerConfig, fingerprint
from headrace_worker import capacity, decision, engines, health, life, termination, warm
from headrace_worker.decision import Decision, OnMachine
from headrace_worker.engine_client import Dialect, EngineClient
from headrace_worker.engine_metrics import Source
from headrace_worker.engine_process import EngineExitedError, EngineProcess, exit_text
from headrace_worker.engines.protocol import EngineCommand, EngineConfigError
from headrace_worker.learner import Memory, learn
from headrace_worker.life import Cause, State
from headrace_worker.parts import Parts, PreparationError
from headrace_worker.puller import Puller
from headrace_worker.settings import Settings
from headrace_worker.status import Offer, Status
from headrace_worker.transports import choice as transports
from headrace_worker.transports.protocol import Transport
from headrace_worker.watchdog import Sign, Watch

ENGINE_STOP_S = 3.0
LOST_JOBS_S = 2.0
DYING_S = 0.5
"""So long after its connection broke it is waited for an engine's end: that says more."""
TRIED_S = 15.0
"""How long a ready worker may take to be registered before its probes say that it has started without."""

T = TypeVar("T")
log = structlog.get_logger()


class End(Exception):  # noqa: N818 (an end need not be an error)
    """A worker's life ends; `message` is for people."""

    def __init__(self, cause: Cause, message: str = "") -> None:
        super().__init__(message)
        self.cause = cause
        self.message = message


@dataclass
class Worker:
    """One life."""

    config: WorkerConfig
    settings: Settings
    parts: Parts
    status: Status
    puller: Puller
    http: aiohttp.ClientSession
    asked_to_stop: asyncio.Event
    nvidia_gpus: int = 0

    def __post_init__(self) -> None:
        self._engine: EngineProcess | None = None
        self._transport: Transport | None = None
        self._began = time.monotonic()

    async def live(self) -> int:
        """Live until SIGTERM or SIGINT, or until something fails; returns the exit status.

        Raises:
            EngineConfigError: the configuration asks for something that cannot be done.
        """
        log.info("the worker's state", state=self.status.state.value)
        pulling = asyncio.create_task(self.puller.run())
        try:
            await self._states(pulling)
        except End as end:
            return await self._end(end)
        except EngineConfigError as error:
            await self._end(End(Cause.UNUSABLE, str(error)))
            raise
        except Exception as error:
            await self._end(End(Cause.BROKEN, f"an error in the worker itself: {type(error).__name__}: {error}"))
            raise
        finally:
            pulling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await pulling
            if self._engine:
                await self._engine.stop(0)
            if self._transport:
                await self._transport.close()
        raise AssertionError("a worker's life has no other end")

    async def _states(self, pulling: asyncio.Task[None]) -> None:
        decided, command = await self._unless_ended(pulling, self._fetch())
        self._go(Cause.FETCHED)
        log.info("starting the engine", argv=command.argv)
        inherited = self.settings.engine_environment
        engine = self._engine = await EngineProcess.start(
            command, decided.port, inherited, lambda line: _log_engine(self.status, line)
        )
        self.status.metrics.engine_starts.inc()
        if decided.api.metrics_path:
            metrics_url = engine.base_url + decided.api.metrics_path
            self.status.engine_metrics = Source(metrics_url, self.config.model_name, decided.generator.type)
        await self._unless_ended(pulling, self._load(engine))
        self._go(Cause.ANSWERED)
        await self._unless_ended(pulling, self._warm(engine, decided))
        await self._unless_ended(pulling, self._serve(engine, decided))

    async def _fetch(self) -> tuple[Decision, EngineCommand]:
        settings, tell = self.settings, self.status.set_progress
        machine = OnMachine(settings.programs, settings.engine_environment, self.nvidia_gpus)
        try:
            generator = await self.parts.fetch(self.config.generator, tell)
            chosen = engines.choose(generator, engines.installed(machine.programs))
            here = await self.parts.adapters.before_start(chosen)
            decided = self.parts.decide(*decision.prepared(chosen, self.config.model_name, machine, here))
            for note in decided.notes:
                log.info(note)
            more = await self.parts.prepare_environment(decided, machine.environment, tell)
            return decided, replace(decided.command, env={**decided.command.env, **more})
        except PreparationError as error:
            raise End(Cause.NOT_FETCHED, str(error)) from error

    async def _load(self, engine: EngineProcess) -> None:
        began = time.monotonic()
        try:
            await engine.wait_healthy(self.http)
        except EngineExitedError as error:
            raise End(Cause.ENGINE_EXITED) from error
        seconds = time.monotonic() - began
        self.status.metrics.engine_start_seconds.set(seconds)
        log.info("the engine answers", seconds=round(seconds, 1))

    async def _warm(self, engine: EngineProcess, decided: Decision) -> None:
        began = time.monotonic()
        try:
            await warm.first_token(self.http, engine.base_url, decided.api.warm, self.config.model_name)
        except warm.WarmUpError as error:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(engine.wait(), DYING_S)
            cause = Cause.NOT_WARMED if engine.running else Cause.ENGINE_EXITED
            raise End(cause, str(error)) from error
        log.info("the engine is ready", first_token_seconds=round(time.monotonic() - began, 3))

    async def _serve(self, engine: EngineProcess, decided: Decision) -> None:
        config, generation = self.config, decided.generator.generation
        dialect = Dialect(config.model_name, decided.request_defaults, generation, decided.api, decided.routes)
        self._transport = await transports.opened(self.http, engine.base_url, decided.api)
        client = EngineClient(self.http, engine.base_url, dialect, self._transport)
        self.status.set_engine_healthy(True)
        given = config.queue.max_concurrent_queries
        memory = Memory(self.settings.cache / "capacity.json", fingerprint(config.generator))
        known = capacity.first(decided.slots, self.settings.inter_token_seconds, memory.recall())
        self.status.set_offer(Offer(client, given or known.limit))
        self._go(Cause.WARMED)
        tried = asyncio.get_running_loop().call_later(TRIED_S, self.status.set_tried)
        works = [self.parts.adapters.keep(client, self.status.set_adapters)]
        works += [] if given else [learn(self.status, known, memory)]
        beside = [asyncio.create_task(_logged(work)) for work in works]

        async def look(watch: Watch) -> Sign:
            return await self._look(client, decided, watch)

        try:
            reason = await health.until_hung(look, self.status.set_engine_healthy, self.settings.hang_seconds)
        finally:
            tried.cancel()
            for task in beside:
                task.cancel()
        raise End(Cause.ENGINE_HUNG, reason)

    async def _look(self, client: EngineClient, decided: Decision, before: Watch) -> Sign:
        """One sign of the engine; its metrics are asked for only where they matter."""
        answers, metrics = await client.healthy(), None
        # Without metrics nothing can be seen of an answer that is not streamed until it is complete.
        under_way = self.status.under_way if decided.api.metrics_path else self.status.streams
        if decided.api.metrics_path and under_way and client.heard_at < before.seen_at:
            metrics = await client.metrics(decided.api.metrics_path, decided.api.metrics_prefix)
        return Sign(time.monotonic(), answers, under_way, client.heard_at, metrics)

    async def _unless_ended(self, pulling: asyncio.Task[None], work: Coroutine[Any, Any, T]) -> T:
        """Do what a state is for.

        Raises:
            End: something else has ended the worker's life first.
        """
        doing = asyncio.create_task(work)
        asked = asyncio.create_task(self.asked_to_stop.wait())
        refused = asyncio.create_task(self._until_refused())
        exited = asyncio.create_task(self._engine.wait()) if self._engine else None
        tasks = [task for task in (asked, exited, refused, doing) if task]
        try:
            await asyncio.wait({*tasks, pulling}, return_when=asyncio.FIRST_COMPLETED)
            if asked.done():
                raise End(Cause.ASKED_TO_STOP)
            if exited and exited.done():
                raise End(Cause.ENGINE_EXITED)
            if refused.done():
                raise End(Cause.REFUSED, refused.result())
            if pulling.done():
                await pulling  # it never ends by itself: this raises what went wrong
            return await doing
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _until_refused(self) -> str:
        """What the queue said, where somebody starts the worker anew with the token that is then right: Kubernetes."""
        reason = await self.puller.until_refused()
        if not self.settings.termination_log:
            await asyncio.Event().wait()
        return reason

    def _go(self, cause: Cause, detail: str = "") -> None:
        before = self.status.state
        self.status.set_state(life.after(before, cause), detail)
        log.info("the worker's state", state=self.status.state.value, before=before.value)

    # ---- ends

    async def _end(self, end: End) -> int:
        if end.cause is Cause.ASKED_TO_STOP:
            return await self._drain()
        return await self._fail(end, self.status.state)

    async def _drain(self) -> int:
        """End as asked. For a pod that stays it was the kubelet that asked, because of a probe: it is told when."""
        before = self.status.state
        when = life.ASKED[before] + ("" if before is State.READY else f", after {time.monotonic() - self._began:.0f} s")
        self._go(Cause.ASKED_TO_STOP)
        log.info("stopping: finishing the requests under way", grace_seconds=self.settings.grace_seconds)
        drain = asyncio.create_task(self.puller.drain("the worker is stopping", self.settings.grace_seconds))
        exited = asyncio.create_task(self._engine.wait()) if self._engine else None
        await asyncio.wait({drain, *([exited] if exited else [])}, return_when=asyncio.FIRST_COMPLETED)
        if exited and exited.done() and not drain.done():
            drain.cancel()
            return await self._fail(End(Cause.ENGINE_EXITED), before)
        if self._engine:
            await self._engine.stop(ENGINE_STOP_S)
        self._go(Cause.DRAINED)
        self._write(f"the worker was told to stop {when}")
        return 0

    async def _fail(self, end: End, state: State) -> int:
        engine, message = self._engine, end.message
        if engine and end.cause is Cause.ENGINE_EXITED:
            message = f"the engine {exit_text(await engine.wait())} {life.WHEN[state]}"
        log.error(message, last_lines=self._told_of_engine(state))
        self.status.set_engine_healthy(False)
        self._go(end.cause, message)
        # The queue is told that no more is taken before the first job is handed back. A dead process's connections are
        # reset: each job ends by itself and says what became of it.
        patience_s = ENGINE_STOP_S if end.cause is Cause.REFUSED else 0
        stop = engine.stop(patience_s) if engine else asyncio.sleep(0)
        await asyncio.gather(self.puller.drain(message, LOST_JOBS_S), stop)
        self._write(message)
        return 1

    def _told_of_engine(self, state: State) -> Sequence[str]:
        """What may be logged of its last lines: once it has served they may tell of requests, so errors alone."""
        lines = self._engine.tail if self._engine else []
        if state in {State.LOADING, State.WARMING}:
            return lines
        log.debug("the engine's last lines", last_lines=lines)
        return termination.errors(lines)

    def _write(self, message: str) -> None:
        if self.settings.termination_log:
            termination.write(self.settings.termination_log, message, self._engine.tail if self._engine else [])


async def _logged(work: Coroutine[Any, Any, None]) -> None:
    """Work beside serving, which goes on without it."""
    try:
        await work
    except Exception:
        log.exception("adapters, or how many requests are taken at a time, stay as they are")


def _log_engine(status: Status, line: str) -> None:
    """While it serves, an engine may write of requests; those are never logged below debug."""
    (log.info if status.state in {State.LOADING, State.WARMING} else log.debug)("engine", line=line)
