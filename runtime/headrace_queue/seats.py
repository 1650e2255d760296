"""The workers that are connected, as the dispatcher sees them, and the jobs that they have."""

from dataclasses import dataclass, field
from typing import Protocol

from headrace_queue.exchange import Call, Exchange


class WorkerLink(Protocol):
    """The connection of one worker. No method blocks or raises."""

    def give(self, job: int, call: Call, waited_s: float, receipt: str, /) -> None:
        """Send the worker a job that has been here for so long; it shows the receipt with its result."""

    def cancel(self, job: int) -> None:
        """Ask the worker to stop a job."""

    def drain(self, reason: str) -> None:
        """Tell the worker that no further job will come."""


@dataclass(slots=True)
class Seat:
    """One worker."""

    worker: int
    link: WorkerLink
    name: str
    jobs: set[int] = field(default_factory=set)
    draining: bool = False
    culprit_at: float | None = None
    """When its engine was lost with a request that was under suspicion: what else it had then is innocent."""


@dataclass(slots=True)
class Job:
    """One attempt of a worker at a request."""

    exchange: Exchange
    worker: int
    given_at: float
    begun: bool = False
    """Whether anything of its answer came."""
    abandoned: bool = False
    """Whether another worker has the request now: what still comes of this attempt counts for nothing."""
