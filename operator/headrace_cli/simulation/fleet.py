"""The workers of one model in a simulation: they start, take requests, drain and go, as the real ones do."""

from dataclasses import dataclass, field


@dataclass
class Worker:
    """One replica."""

    number: int
    began: float
    """When it was asked for, in seconds: from then on it occupies its GPUs."""
    ready: bool = False
    draining: bool = False
    jobs: int = 0


@dataclass
class Fleet:
    """The workers, and how long they occupied their places."""

    slots: int
    """Requests that a worker takes at a time."""
    workers: dict[int, Worker] = field(default_factory=dict)
    worker_seconds: float = 0.0
    _next: int = 0

    @property
    def wanted(self) -> list[Worker]:
        """Those that are not on their way out."""
        return [one for one in self.workers.values() if not one.draining]

    @property
    def ready(self) -> list[Worker]:
        """Those that take requests."""
        return [one for one in self.workers.values() if one.ready and not one.draining]

    def add(self, now: float, *, ready: bool = False) -> Worker:
        """A worker is asked for."""
        worker = Worker(self._next, now, ready=ready)
        self._next += 1
        self.workers[worker.number] = worker
        return worker

    def take_away(self, now: float, number: int) -> None:
        """So many go: those that are not ready first, as in Kubernetes, then those with the fewest requests."""
        for worker in sorted(self.wanted, key=lambda one: (one.ready, one.jobs, -one.number))[:number]:
            worker.draining = True
            self._leave_if_done(worker, now)

    def free(self) -> Worker | None:
        """The worker that the queue gives the next request to: the one with the most room."""
        best = min(self.ready, key=lambda one: one.jobs, default=None)
        return best if best and best.jobs < self.slots else None

    def finish(self, number: int, now: float) -> None:
        """A worker has answered one of its requests."""
        worker = self.workers[number]
        worker.jobs -= 1
        self._leave_if_done(worker, now)

    def close(self, now: float) -> None:
        """The simulation ends: count the time of those that are left."""
        self.worker_seconds += sum(now - one.began for one in self.workers.values())

    def _leave_if_done(self, worker: Worker, now: float) -> None:
        if worker.draining and not worker.jobs:
            del self.workers[worker.number]
            self.worker_seconds += now - worker.began
