"""The clients: most ask without end, one group wakes the model that sleeps and then lets it sleep again."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from tests.traffic import wishes
from tests.traffic.books import Act, Asked, Disturbance
from tests.traffic.client import ask, session
from tests.traffic.models import SLEEPER
from tests.traffic.site import Site, asleep
from tests.traffic.wishes import Wish

CHATS, EMBEDDERS, SLEEPERS = 12, 3, 6
"""How many clients of each group."""
_PAUSE_S = (0.15, 0.6)
"""Between an answer and the next question: engines and clients share a small machine."""
_BURST = 4
"""How many requests each client of the sleeper makes before it lets it sleep."""


def names() -> list[str]:
    """The ids of all clients' keys."""
    groups = {"chat": CHATS, "embed": EMBEDDERS, "wake": SLEEPERS}
    return [f"{group}-{number:02}" for group, count in groups.items() for number in range(count)]


@dataclass
class Load:
    """What clients have written down, and how the sleeper has slept."""

    site: Site
    seed: int
    book: list[Asked] = field(default_factory=list)
    acts: list[Disturbance] = field(default_factory=list)
    stopping: bool = False

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Load"]:
        """Ask while the block runs, then wait for every answer."""
        groups = {"chat": wishes.chat, "embed": wishes.embedder}
        async with session() as http, asyncio.TaskGroup() as tasks:
            self._http = http
            for name in self.site.keys:
                if draw := groups.get(name.partition("-")[0]):
                    tasks.create_task(self._go_on(name, draw))
            tasks.create_task(self._wake_and_let_sleep())
            try:
                yield self
            finally:
                self.stopping = True

    async def _go_on(self, name: str, draw: Callable[[random.Random], Wish]) -> None:
        chance = self._chance(name)
        while not self.stopping:
            await self._one(name, draw(chance), chance)

    async def _one(self, name: str, wish: Wish, chance: random.Random) -> None:
        self.book.append(await ask(self._http, self.site.url, (name, self.site.keys[name]), wish))
        await asyncio.sleep(chance.uniform(*_PAUSE_S))

    async def _wake_and_let_sleep(self) -> None:
        asleep_since = time.time()
        while not self.stopping:
            await asyncio.gather(*(self._burst(name) for name in self.site.keys if name.startswith("wake")))
            self.acts.append(Disturbance(Act.SLEPT, SLEEPER, asleep_since, time.time()))
            asleep_since = time.time()
            while not (self.stopping or await asleep()):
                await asyncio.sleep(1)

    async def _burst(self, name: str) -> None:
        chance = self._chance(f"{name}/{len(self.acts)}")
        for _ in range(_BURST):
            if not self.stopping:
                await self._one(name, wishes.sleeper(chance), chance)

    def _chance(self, what: str) -> random.Random:
        return random.Random(f"{self.seed}/{what}")  # noqa: S311 (no secret)
