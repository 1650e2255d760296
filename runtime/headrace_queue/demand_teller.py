"""Tells workers where requests wait (`headrace_queue.demand`), as long as the queue runs."""

import asyncio
from typing import Protocol

from headrace_api.wire import Demand
from headrace_queue.demand import EVERY_S, Asking
from headrace_queue.dispatch import Dispatcher


class Listener(Protocol):
    """The connection of a worker that takes `Demand`."""

    def demand(self, demand: Demand, /) -> None:
        """Send it; neither blocks nor raises."""


class DemandTeller:
    """The workers that listen, and what they have been told."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._asking = Asking()
        self._listeners: dict[int, Listener] = {}

    def join(self, worker: int, listener: Listener) -> None:
        """A worker that takes `Demand` is there."""
        self._listeners[worker] = listener

    def leave(self, worker: int) -> None:
        """A worker has left."""
        self._listeners.pop(worker, None)
        self._asking.forget(worker)

    def brought(self, worker: int) -> None:
        """A worker has granted credits."""
        self._asking.brought(worker)

    async def run(self) -> None:
        """Tell, until cancelled. While nothing waits this sleeps."""
        clock = asyncio.get_running_loop().time
        while True:
            await self._dispatcher.waits.wait()
            self._dispatcher.waits.clear()
            while self._tell(clock()):  # noqa: ASYNC110 - others are asked, although nothing has happened
                await asyncio.sleep(EVERY_S)

    def _tell(self, now: float) -> bool:
        """Whether something waits, or has just ended."""
        waits = self._dispatcher.what_waits()
        for worker, demand in self._asking.due(waits, now, self._listeners).items():
            self._listeners[worker].demand(demand)
        return bool(waits) or not self._asking.quiet
