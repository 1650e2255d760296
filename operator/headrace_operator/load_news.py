"""Which models to look at when the queue's numbers change: for what is shown in the status, no more often than needed.

The autoscaler hears every number at once, and wakes a model itself when its decision changes; all others are looked at
only so that the status shows their numbers, which are writes to the API server.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from headrace_api import progress
from headrace_api.load import ModelLoad
from headrace_operator import adapter_load
from headrace_operator.kinds import key_of
from headrace_operator.observed import Key, Object
from headrace_operator.scaling.autoscaler import Autoscaler
from headrace_operator.world import SeenWorld

_SHOWN_SECONDS = 1.0


@dataclass
class LoadNews:
    """Takes what the queue says."""

    world: SeenWorld
    autoscaler: Autoscaler
    wake: Callable[[Key], None]
    seconds: float = _SHOWN_SECONDS
    """A first change is shown at once, then no more often than this."""
    _shown: dict[str, ModelLoad] = field(default_factory=dict)
    _heard: dict[str, ModelLoad] = field(default_factory=dict)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def hear(self, load: Mapping[str, ModelLoad]) -> None:
        """Take the numbers of every model and adapter."""
        load = adapter_load.added(load, self.world.adapters()) if any(":" in name for name in load) else load
        self._heard = {name: _worth_a_look(one) for name, one in load.items()}
        self.world.set_load(dict(load))
        for key in self.autoscaler.hear(dict(load)):
            self.wake(key)
        self._changed.set()

    async def run(self) -> None:
        """Wake the models whose numbers are not shown yet, until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            self._show()
            await asyncio.sleep(self.seconds)

    def _show(self) -> None:
        changed = {name for name in {*self._shown, *self._heard} if self._shown.get(name) != self._heard.get(name)}
        self._shown = self._heard
        for model in self._models(changed):
            self.wake(key_of(model))

    def _models(self, names: set[str]) -> list[Object]:
        return [model for model in self.world.models() if self.world.queue_name(model) in names] if names else []


def _worth_a_look(load: ModelLoad) -> ModelLoad:
    """What is worth a look: no requests that came and went, and of a download only every twentieth."""
    steps = {
        name: one.model_copy(update={"done_bytes": progress.twentieths(one.done_bytes, one.total_bytes)})
        for name, one in load.starting.items()
    }
    return load.model_copy(update={"taken": 0, "starting": steps})
