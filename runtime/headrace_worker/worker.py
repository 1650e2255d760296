"""Leads a worker through its life (`headrace_worker.life`): does what each state is for, and ends it as its cause asks.

An engine that can be started at once is, and what connects the worker with others (`headrace_worker.outside`) loads
beside it. Where something has to be fetched first, the connection to the queue comes before, so that a refused token is
known before gigabytes are fetched.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from headrace_api.worker_config import WorkerConfig
from headrace_worker import decision, engines, life, termination
from headrace_worker.decision import Decision, OnMachine
from headrace_worker.engine_process import EngineProcess, exit_text
from headrace_worker.engines.protocol import EngineCommand, EngineConfigError
from headrace_worker.life import Cause, End, State
from headrace_worker.parts import Parts, PreparationError
from headrace_worker.settings import Settings
from headrace_worker.status import Status

if TYPE_CHECKING:  # loads late: see `HEAD_START_S`
    from headrace_worker.outside import Outside

HEAD_START_S = 0.3
"""So long at most the connections wait until the engine's process is started; nothing waits for them in that time."""
ENGINE_STOP_S = 3.0
LOST_JOBS_S = 2.0

T = TypeVar("T")
log = structlog.get_logger()


@dataclass
class Worker:
    """One life."""

    config: WorkerConfig
    settings: Settings
    parts: Parts
    status: Status
    connected: "Callable[[], AbstractAsyncContextManager[Outside]]"
    asked_to_stop: asyncio.Event
    nvidia_gpus: int = 0

    def __post_init__(self) -> None:
        self._engine: EngineProcess | None = None
        self._began = time.monotonic()

    async def live(self) -> int:
        """Live until SIGTERM or SIGINT, or until something fails; returns the exit status.

        Raises:
            EngineConfigError: the configuration asks for something that cannot be done.
            ProbesError: the metrics port cannot be listened on.
        """
        log.info("the worker's state", state=self.status.state.value)
        starting = asyncio.create_task(self._start())
        try:
            await asyncio.wait({starting}, timeout=HEAD_START_S)
            async with self.connected() as outside:
                return await self._until_end(starting, outside)
        finally:
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            if self._engine:
                await self._engine.stop(0)

    async def _until_end(self, starting: asyncio.Task[tuple[Decision, EngineProcess]], outside: "Outside") -> int:
        try:
            await self._states(starting, outside)
        except End as end:
            return await self._end(end, outside)
        except EngineConfigError as error:
            await self._end(End(Cause.UNUSABLE, str(error)), outside)
            raise
        except Exception as error:
            broken = f"an error in the worker itself: {type(error).__name__}: {error}"
            await self._end(End(Cause.BROKEN, broken), outside)
            raise
        raise AssertionError("a worker's life has no other end")

    async def _states(self, starting: asyncio.Task[tuple[Decision, EngineProcess]], outside: "Outside") -> None:
        decided, engine = await self._unless_ended(outside, starting)
        await self._unless_ended(outside, outside.load(engine, decided))
        self._go(Cause.ANSWERED)
        await self._unless_ended(outside, outside.warm(engine, decided))
        service = outside.service(engine, decided)
        told = await self._unless_ended(outside, self.parts.adapters.load(service.client))
        service.offer()
        self._go(Cause.WARMED)
        self.status.set_adapters(told)  # without a pause: nobody sees the worker ready without them
        reason = await self._unless_ended(outside, service.until_hung(self.parts.adapters))
        raise End(Cause.ENGINE_HUNG, reason)

    async def _start(self) -> tuple[Decision, EngineProcess]:
        decided, command = await self._fetch()
        self._go(Cause.FETCHED)
        log.info("starting the engine", argv=command.argv)
        inherited = self.settings.engine_environment
        engine = self._engine = await EngineProcess.start(
            command, decided.port, inherited, lambda line: _log_engine(self.status, line)
        )
        self.status.metrics.engine_starts.inc()
        return decided, engine

    async def _fetch(self) -> tuple[Decision, EngineCommand]:
        settings, tell = self.settings, self.status.set_progress
        machine = OnMachine(settings.programs, settings.engine_environment, self.nvidia_gpus)
        try:
            generator = await self.parts.fetch(self.config.generator, tell)
            chosen = engines.choose(generator, engines.installed(machine.programs))
            here = await self.parts.adapters.before_start(chosen, tell)
            decided = self.parts.decide(*await decision.prepared(chosen, self.config.model_name, machine, here))
            for note in decided.notes:
                log.info(note)
            more = await self.parts.prepare_environment(decided, machine.environment, tell)
            return decided, replace(decided.command, env={**decided.command.env, **more})
        except PreparationError as error:
            raise End(Cause.NOT_FETCHED, str(error)) from error

    async def _unless_ended(self, outside: "Outside", work: Coroutine[Any, Any, T] | asyncio.Task[T]) -> T:
        """Do what a state is for.

        Raises:
            End: something else has ended the worker's life first.
        """
        doing = asyncio.ensure_future(work)
        asked = asyncio.create_task(self.asked_to_stop.wait())
        refused = asyncio.create_task(self._until_refused(outside))
        exited = asyncio.create_task(self._engine.wait()) if self._engine else None
        tasks = [task for task in (asked, exited, refused, doing) if task]
        try:
            await asyncio.wait({*tasks, outside.pulling}, return_when=asyncio.FIRST_COMPLETED)
            if asked.done():
                raise End(Cause.ASKED_TO_STOP)
            if exited and exited.done():
                raise End(Cause.ENGINE_EXITED)
            if refused.done():
                raise End(Cause.REFUSED, refused.result())
            if outside.pulling.done():
                await outside.pulling  # it never ends by itself: this raises what went wrong
            return await doing
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _until_refused(self, outside: "Outside") -> str:
        """What the queue said, where somebody starts the worker anew with the token that is then right: Kubernetes."""
        reason = await outside.puller.until_refused()
        if not self.settings.termination_log:
            await asyncio.Event().wait()
        return reason

    def _go(self, cause: Cause, detail: str = "") -> None:
        before = self.status.state
        self.status.set_state(life.after(before, cause), detail)
        log.info("the worker's state", state=self.status.state.value, before=before.value)

    # ---- ends

    async def _end(self, end: End, outside: "Outside") -> int:
        if end.cause is Cause.ASKED_TO_STOP:
            return await self._drain(outside)
        return await self._fail(end, self.status.state, outside)

    async def _drain(self, outside: "Outside") -> int:
        """End as asked. For a pod that stays it was the kubelet that asked, because of a probe: it is told when."""
        before = self.status.state
        when = life.ASKED[before] + ("" if before is State.READY else f", after {time.monotonic() - self._began:.0f} s")
        self._go(Cause.ASKED_TO_STOP)
        log.info("stopping: finishing the requests under way", grace_seconds=self.settings.grace_seconds)
        drain = asyncio.create_task(outside.puller.drain("the worker is stopping", self.settings.grace_seconds))
        exited = asyncio.create_task(self._engine.wait()) if self._engine else None
        await asyncio.wait({drain, *([exited] if exited else [])}, return_when=asyncio.FIRST_COMPLETED)
        if exited and exited.done() and not drain.done():
            drain.cancel()
            return await self._fail(End(Cause.ENGINE_EXITED), before, outside)
        if self._engine:
            await self._engine.stop(ENGINE_STOP_S)
        self._go(Cause.DRAINED)
        self._write(f"the worker was told to stop {when}")
        return 0

    async def _fail(self, end: End, state: State, outside: "Outside") -> int:
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
        await asyncio.gather(outside.puller.drain(message, LOST_JOBS_S), stop)
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


def _log_engine(status: Status, line: str) -> None:
    """While it serves, an engine may write of requests; those are never logged below debug."""
    (log.info if status.state in {State.LOADING, State.WARMING} else log.debug)("engine", line=line)
