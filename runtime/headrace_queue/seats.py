"""The workers that are connected, as the dispatcher sees them, and the jobs that they have."""

from dataclasses import dataclass, field
from typing import Protocol

from headrace_queue.exchange import Call, Exchange
from headrace_queue.schedule.shares import Entry


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
    continues: bool = False
    """Whether it knows of answers that another worker has begun."""
    culprit_at: float | None = None
    """When its engine was lost with a request that was under suspicion: what else it had then is innocent."""


class Job:
    """One attempt of a worker at a request."""

    __slots__ = ("abandoned", "begun", "exchange", "given_at", "owed", "worker")

    def __init__(self, exchange: Exchange, worker: int, given_at: float) -> None:
        self.exchange = exchange
        self.worker = worker
        self.given_at = given_at
        self.begun = False
        """Whether anything of its answer came."""
        self.abandoned = False
        """Whether another worker has the request now: what still comes of this attempt counts for nothing."""
        self.owed: Entry | None = None
        """Of one whose client waits no longer: its key's share, to be corrected once the worker tells what it used."""

    @property
    def is_live(self) -> bool:
        """Whether somebody waits for what comes of it."""
        return not (self.abandoned or self.exchange.over)


class Seats:
    """All workers, by their numbers, and all jobs, by theirs."""

    def __init__(self) -> None:
        self.workers: dict[int, Seat] = {}
        self.jobs: dict[int, Job] = {}

    def give(self, job: int, exchange: Exchange, worker: int, now: float) -> Seat:
        """A worker gets a request."""
        seat = self.workers[worker]
        exchange.job = exchange.last_job = job
        exchange.worker, exchange.started = seat.name, now
        exchange.continued = exchange.continued or exchange.call.continues
        exchange.attempts += 1
        self.jobs[job] = Job(exchange, worker, now)
        seat.jobs.add(job)
        return seat

    def of(self, worker: int, job: int) -> Job | None:
        """A worker's job; None if it has none of this number."""
        given = self.jobs.get(job)
        return given if given is not None and given.worker == worker else None

    def take(self, job: int) -> Job:
        """A worker has a job no longer."""
        given = self.jobs.pop(job)
        self.workers[given.worker].jobs.discard(job)
        if not given.abandoned:
            given.exchange.job = None
        return given

    def lose(self, worker: int) -> list[Job]:
        """A worker is gone: what it had, without what was given up before."""
        seat = self.workers.pop(worker)
        lost = [given for job in sorted(seat.jobs) if not (given := self.jobs.pop(job)).abandoned]
        for given in lost:
            given.exchange.job = None
        return lost
