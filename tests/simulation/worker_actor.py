"""A worker of a run: real sessions, real engine client, real unacknowledged results; the engine is a fake one."""

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import replace
from random import Random
from typing import Any

from headrace_api import wire
from headrace_worker.engine_client import Dialect, EngineClient
from headrace_worker.engines.protocol import text_api
from headrace_worker.gpu_time import SharedTime
from headrace_worker.life import State
from headrace_worker.metrics import Metrics
from headrace_worker.puller import retry_delay
from headrace_worker.shared import Shared
from headrace_worker.status import Offer, Status
from headrace_worker.v1 import V1Session
from tests.simulation.engine import FakeEngine
from tests.simulation.loop import Process
from tests.simulation.network import Connection
from tests.simulation.plan import WorkerPlan

METRICS = Metrics()
"""Of all runs together: nothing is decided by them, and making them takes longer than a run."""

_PATIENCE_S = 3.0

Connect = Callable[[Process], Awaitable[Connection | None]]


class WorkerActor:
    """One process of a worker, from its start to its death."""

    def __init__(self, plan: WorkerPlan, name: str, connect: Connect, rng: Random) -> None:
        self.plan = plan
        self.process = Process(name)
        self.engine = FakeEngine(plan.pace_s, iter(plan.tempers))
        self.status = Status(METRICS, State.LOADING, gpu_time=SharedTime(1))
        self.shared = Shared.of(self.status, asyncio.get_running_loop().time)
        self.shared.slots._turns = itertools.count(rng.randrange(2**16))
        self.session: V1Session | None = None
        self.connection: Connection | None = None
        self.gone = False
        self._connect = connect
        self._rng = rng
        self._stopping = False

    def start(self) -> None:
        self.process.start(self._live())
        self.process.start(self._run())

    async def _live(self) -> None:
        await asyncio.sleep(self.plan.starts_after_s)
        client = EngineClient(
            None, "", Dialect("m", api=replace(text_api(), continues=self.plan.continues)), self.engine
        )  # type: ignore[arg-type]
        self.status.set_offer(Offer(client, self.plan.slots))
        self.status.set_state(State.READY)

    async def _run(self) -> None:
        """As `Puller.run`."""
        failures = 0
        while not self._stopping:
            served = False
            self.connection = await self._connect(self.process)
            if self.connection is not None:
                served = await self._serve(self.connection.worker_end)
            failures = 1 if served else failures + 1
            await asyncio.sleep(retry_delay(failures, 5, self._rng.random()))
        self.gone = True

    async def _serve(self, end: Any) -> bool:
        session = self.session = V1Session(end, self.register(), self.shared, end.peer.process.name)
        if self._stopping:
            await end.close()
        try:
            await session.run()
        finally:
            self.session = None
        return session.registered.is_set()

    def register(self) -> wire.Register:
        machine = {"cpu_count": 1, "disk_space": 1, "vram": 0, "nv_gpu_count": 1}
        name, models = f"w{self.plan.number}", list(self.plan.models)
        state = self.status.state.value
        return wire.Register(
            worker=name, models=models, fingerprint="f", state=state, continues=True, shares=True, **machine
        )

    def kill(self) -> None:
        self.process.kill()
        self.gone = True

    async def stop(self) -> None:
        """As SIGTERM does."""
        self._stopping = True
        self.status.set_state(State.DRAINING)
        if self.session:
            await self.session.drain("asked to stop", _PATIENCE_S)

    # ---- faults

    def lose_engine(self) -> None:
        self.engine.die()

    def change_slots(self, slots: int) -> None:
        if self.status.offer:
            self.status.set_slots(slots)

    def change_models(self) -> None:
        """An adapter comes, or goes."""
        if offer := self.status.offer:
            self.status.set_offer(replace(offer, adapters=() if offer.adapters else ("a:x",)))

    async def fall_back(self, seconds: float) -> None:
        """Not ready for a while."""
        if self.status.state is State.READY:
            self.status.set_state(State.LOADING)
            await asyncio.sleep(seconds)
            with contextlib.suppress(ValueError):
                if self.status.state is State.LOADING:
                    self.status.set_state(State.READY)
