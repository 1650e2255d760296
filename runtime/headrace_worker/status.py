"""The worker's state, and what readiness follows from it."""

import asyncio
from dataclasses import dataclass, field
from enum import Enum

from headrace_worker.metrics import Metrics


class State(Enum):
    """Where in its life the worker is."""

    STARTING = "starting"
    """The engine is not answering yet."""
    READY = "ready"
    """The engine has answered; the worker pulls whenever it is connected."""
    DRAINING = "draining"
    """Finishing; no new requests."""
    STOPPED = "stopped"
    """Ended as asked."""
    FAILED = "failed"
    """The engine has died."""


@dataclass
class Status:
    """What the probes show."""

    metrics: Metrics
    state: State = State.STARTING
    engine_healthy: bool = False
    registered: bool = False
    tried: bool = False
    """Whether registering has been tried for a while, with or without success."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def ready(self) -> bool:
        """Whether requests can be served: engine healthy, registered, and not on the way out."""
        return not self.missing()

    @property
    def started(self) -> bool:
        """Whether the engine has answered, and the queue too or not for so long that it is not just about to.

        Where a worker has started but is not ready, it is the connection with the queue that is missing: this is how
        those who see no more of a pod than its probes (`started` and `ready`) can tell.
        """
        return self.state is not State.STARTING and (self.registered or self.tried)

    def missing(self) -> list[str]:
        """What stands in the way of readiness."""
        problems = [] if self.state is State.READY else [f"the worker is {self.state.value}"]
        problems += [] if self.engine_healthy else ["the engine is not healthy"]
        return problems + ([] if self.registered else ["not registered with the queue"])

    def set_state(self, state: State) -> None:
        """Go on to the next state."""
        self.state = state
        self.changed.set()

    def set_engine_healthy(self, healthy: bool) -> None:
        """Note whether the engine answers."""
        self.engine_healthy = healthy
        self.metrics.engine_healthy.set(healthy)
        self.changed.set()

    def set_tried(self) -> None:
        """Note that registering has been tried for a while."""
        self.tried = True

    def set_registered(self, registered: bool) -> None:
        """Note whether the queue knows the worker."""
        self.registered = registered
        self.metrics.registered.set(registered)
        self.changed.set()
