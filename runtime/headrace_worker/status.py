"""What the worker is at this moment, for those who show it or tell it: probes, metrics, the connection to the queue."""

import asyncio
import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from headrace_api.wire import Usage
from headrace_worker.adapters.told import Told
from headrace_worker.gpu_time import SharedTime
from headrace_worker.life import State
from headrace_worker.metrics import Metrics

if TYPE_CHECKING:  # they load aiohttp, for which an engine's start does not wait
    from headrace_worker.engine_client import EngineClient
    from headrace_worker.engine_metrics import Source


@dataclass(frozen=True)
class Progress:
    """How far a state is."""

    detail: str = ""
    """For people: which file is fetched, or why the worker has failed."""
    done_bytes: int | None = None
    total_bytes: int | None = None


@dataclass(frozen=True)
class Offer:
    """What the worker offers its queue while it is ready."""

    engine: "EngineClient"
    slots: int
    """Requests that it takes at a time."""
    adapters: tuple[str, ...] = ()
    """Model names beside those that it registers with."""


@dataclass
class Traffic:
    """What has been counted of answers since the worker began; bytes once a frame, all else once a request."""

    sent_bytes: int = 0
    ended: int = 0
    stream_tokens: int = 0
    """Of streams that have ended, all but the first of each."""
    stream_s: float = 0.0
    """The time between those tokens, together."""
    since: float = 0.0
    """Streams count that began later, on the monotonic clock: as many slots as now were there all of their time."""

    def sent(self, size: int) -> None:
        """Count a frame."""
        self.sent_bytes += size


@dataclass
class Status:
    """The worker's state and what follows from it."""

    metrics: Metrics
    state: State = State.FETCHING
    progress: Progress = Progress()
    offer: Offer | None = None
    engine_metrics: "Source | None" = None
    """Where the engine has its own metrics; None while there is no engine."""
    engine_healthy: bool = False
    registered: bool = False
    tried: bool = False
    """Whether registering has been tried for a while, with or without success."""
    under_way: int = 0
    """Requests that the engine has."""
    streams: int = 0
    """Those of them that are streamed."""
    traffic: Traffic = field(default_factory=Traffic)
    gpu_time: SharedTime = field(default_factory=lambda: SharedTime(0))
    """The GPUs' time, shared among the requests under way."""
    _been_ready: bool = False
    _watchers: set[asyncio.Event] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.metrics.in_flight.set_function(lambda: self.under_way)

    @property
    def ready(self) -> bool:
        """Whether requests can be served: engine healthy, registered, and not on the way out."""
        return not self.missing()

    @property
    def started(self) -> bool:
        """Whether the engine has been ready, and the queue too or not for so long that it is not just about to.

        Where a worker has started but is not ready, it is the connection with the queue that is missing: this is how
        those who see no more of a pod than its probes (`started` and `ready`) can tell.
        """
        return self._been_ready and (self.registered or self.tried)

    def missing(self) -> list[str]:
        """What stands in the way of readiness."""
        problems = [] if self.state is State.READY else [f"the worker is {self.state.value}"]
        problems += [] if self.engine_healthy else ["the engine is not healthy"]
        return problems + ([] if self.registered else ["not registered with the queue"])

    def set_state(self, state: State, detail: str = "") -> None:
        """Go on to the next state."""
        self.state = state
        self.metrics.enter(state)
        self.progress = Progress(detail)
        self._been_ready |= state is State.READY
        self._tell()

    def set_progress(self, progress: Progress) -> None:
        """Note how far the state is."""
        self.progress = progress
        self.metrics.progress(progress.done_bytes, progress.total_bytes)
        self._tell()

    def set_offer(self, offer: Offer) -> None:
        """Note what the worker can do from now on."""
        self.offer = offer
        self.metrics.slots.set(offer.slots)
        self._tell()

    def set_adapters(self, told: Told) -> None:
        """Note which adapters can be asked for from now on, and why others cannot."""
        self.metrics.adapters.labels("served").set(len(told.served))
        self.metrics.adapters.labels("failed").set(len(told.failed))
        self.metrics.adapters.labels("needs_restart").set(len(told.restart))
        self.progress = Progress(told.text)
        if self.offer:
            self.set_offer(replace(self.offer, adapters=told.served))

    def set_slots(self, slots: int) -> None:
        """Note how many requests are taken at a time from now on."""
        if self.offer:
            self.traffic.since = time.monotonic()
            self.set_offer(replace(self.offer, slots=slots))

    def set_engine_healthy(self, healthy: bool) -> None:
        """Note whether the engine answers."""
        self.engine_healthy = healthy
        self.metrics.engine_healthy.set(healthy)
        self._tell()

    def set_tried(self) -> None:
        """Note that registering has been tried for a while."""
        self.tried = True

    def set_registered(self, registered: bool) -> None:
        """Note whether the queue knows the worker."""
        self.registered = registered
        self.metrics.registered.set(registered)
        self._tell()

    def begin_request(self, *, stream: bool) -> None:
        """Note that the engine gets a request."""
        self.under_way += 1
        self.streams += stream

    def end_request(self, *, stream: bool) -> None:
        """Note that one has ended."""
        self.under_way -= 1
        self.streams -= stream
        self.traffic.ended += 1

    def end_stream(self, began: float, first: float, ended: float, usage: Usage | None) -> None:
        """Note a stream's times, on the monotonic clock: when its request came, its first piece and its end."""
        self.metrics.streamed(began, first, ended, usage)
        if usage and usage.completion_tokens > 1 and began >= self.traffic.since:
            self.traffic.stream_tokens += usage.completion_tokens - 1
            self.traffic.stream_s += ended - first

    @contextlib.contextmanager
    def watch(self) -> Iterator[asyncio.Event]:
        """An event that is set at every change; whoever waits for it clears it."""
        event = asyncio.Event()
        self._watchers.add(event)
        try:
            yield event
        finally:
            self._watchers.discard(event)

    @property
    def offered(self) -> Offer | None:
        """The offer, while jobs may be taken."""
        return self.offer if self.state is State.READY else None

    async def until_offered(self) -> Offer:
        """Wait until jobs may be taken."""
        with self.watch() as changed:
            while (offer := self.offered) is None:
                changed.clear()
                await changed.wait()
        return offer

    def _tell(self) -> None:
        for event in self._watchers:
            event.set()
