"""What is done to the cluster under load: two hands, on the workers and on the queues, each drawn from the seed.

A hand waits until all is as before, then goes on; the other one does not wait for it. Each draws from a shuffled deck,
so that also a short run has some of everything.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.traffic.books import Act, Disturbance
from tests.traffic.models import CHAT, EMBEDDER, WORKERS
from tests.traffic.shell import MODELS, Object, backs_off, kubectl, pods
from tests.traffic.site import ENOUGH_S, QUEUE, RELEASE, Site, all_ready, until

_PROGRAMS = {
    Act.WORKER_KILLED: ("bin/headrace-worker",),
    Act.ENGINE_KILLED: ("headrace_worker.engines.", "headrace_worker/engines/"),
    Act.QUEUE_KILLED: ("bin/headrace-queue",),
}
_GUARD = "guard.py"
"""The engine's guard has its command line behind its own."""
_WORKERS_DECK = (Act.WORKER_KILLED, Act.ENGINE_KILLED, Act.WORKER_KILLED, Act.SCALED)
_QUEUES_DECK = (Act.QUEUE_KILLED, Act.QUEUE_ROLLED, Act.QUEUE_KILLED)
_BREATH_S = (1.0, 6.0)


@dataclass
class Disturber:
    """Does it, and writes it down."""

    site: Site
    seed: int
    acts: list[Disturbance] = field(default_factory=list)
    stopping: bool = False

    @contextlib.asynccontextmanager
    async def at_work(self) -> AsyncIterator["Disturber"]:
        """Disturb while the block runs; then all is as before."""
        async with asyncio.TaskGroup() as hands:
            hands.create_task(self._hand("workers", _WORKERS_DECK))
            hands.create_task(self._hand("queues", _QUEUES_DECK))
            try:
                yield self
            finally:
                self.stopping = True

    async def _hand(self, name: str, deck: Sequence[Act]) -> None:
        chance = random.Random(f"{self.seed}/{name}")  # noqa: S311 (no secret)
        while not self.stopping:
            for act in chance.sample(deck, len(deck)):
                await asyncio.sleep(chance.uniform(*_BREATH_S))
                if not self.stopping:
                    await self._do(act, chance)

    async def _do(self, act: Act, chance: random.Random) -> None:
        began = time.time()
        if act is Act.SCALED:
            victim = CHAT
            await _to_zero_and_back()
        elif act is Act.QUEUE_ROLLED:
            victim = RELEASE
            await kubectl("rollout", "restart", f"deployment/{RELEASE}-queue")
            await kubectl("rollout", "status", f"deployment/{RELEASE}-queue", f"--timeout={ENOUGH_S:.0f}s")
            await until("the queues are rolled", self.site.queues_ready)
        elif act is Act.QUEUE_KILLED:
            began, victim = await self._kill(act, QUEUE, self.site.replicas, chance)
        else:
            model, count = (EMBEDDER, 1) if chance.random() < 0.2 else (CHAT, WORKERS)
            began, victim = await self._kill(act, f"headrace.dev/model={model}", count, chance)
        self.acts.append(Disturbance(act, victim, began, time.time()))

    async def _kill(self, act: Act, selector: str, count: int, chance: random.Random) -> tuple[float, str]:
        """kill -9; returns when and whom, after all pods serve again."""
        chosen = chance.choice(sorted(await pods(selector), key=lambda pod: str(pod["metadata"]["name"])))
        victim = str(chosen["metadata"]["name"])
        restarts = _restarts(chosen)
        doomed = processes(chosen, act)
        if not doomed:  # the last act has left it serving
            raise RuntimeError(f"{act}: the pod {victim} has no process called {' or '.join(_PROGRAMS[act])}")
        began = time.time()
        for process in doomed:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

        async def restarted() -> bool:
            found = {pod["metadata"]["name"]: pod for pod in await pods(selector)}
            for pod in filter(backs_off, found.values()):  # its successor is started at once
                await kubectl("delete", "pod", pod["metadata"]["name"], "--wait=false")
            return victim not in found or _restarts(found[victim]) > restarts

        await until(f"{victim} is started again", restarted)

        async def whole() -> bool:
            await restarted()
            return await all_ready(selector, count)

        await until(f"{selector}: {count} pods serve", whole)
        return began, victim


async def _to_zero_and_back() -> None:
    selector = f"headrace.dev/model={CHAT}"
    await kubectl("scale", f"{MODELS}/{CHAT}", "--replicas=0")

    async def gone() -> bool:
        return not await pods(selector)

    await until("the workers are gone", gone)
    await kubectl("scale", f"{MODELS}/{CHAT}", f"--replicas={WORKERS}")
    await until("the workers are back", lambda: all_ready(selector, WORKERS))


def _restarts(pod: Object) -> int:
    return sum(one["restartCount"] for one in pod.get("status", {}).get("containerStatuses", []))


def processes(pod: Object, act: Act) -> list[psutil.Process]:
    """The processes of a pod that the act kills: those of the embedded cluster's pods are this machine's."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            command = " ".join(process.cmdline())
            wanted = any(word in command for word in _PROGRAMS[act]) and _GUARD not in command
            if wanted and str(pod["metadata"]["uid"]) in Path(f"/proc/{process.pid}/cgroup").read_text():
                found.append(process)
    return found
