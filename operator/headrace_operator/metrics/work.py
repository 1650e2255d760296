"""The work queue and its reconciles: how many wait, how long they take, how they end. Also puts the model into logs.

The numbers are those of client-go's work queue. `state` is read by the health check, from another thread.
"""

import asyncio
import time
from collections.abc import Callable

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from headrace_operator.observed import Key
from headrace_operator.work_queue import Observer, Unavailable

_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_PREFIX = "headrace_operator_work_queue"
_RESULTS = {409: "conflict", 429: "throttled"}


class WorkMetrics(Observer[Key]):
    """Told by the work queue of each key that is added, begun, ended and put off."""

    def __init__(self, registry: CollectorRegistry, generation: Callable[[Key], int | None]) -> None:
        self._generation = generation
        self._waiting: dict[Key, float] = {}
        self._busy: dict[Key, float] = {}
        self._gauges(registry)
        self._adds = Counter(f"{_PREFIX}_adds", "Models that were put into the queue.", registry=registry)
        self._retries = Counter(f"{_PREFIX}_retries", "Reconciles that failed and are tried again.", registry=registry)
        self._waits = Histogram(
            f"{_PREFIX}_wait_seconds", "How long models waited for their turn.", registry=registry, buckets=_SECONDS
        )
        self._seconds = Histogram(
            "headrace_operator_reconcile_seconds", "Time of one reconcile.", registry=registry, buckets=_SECONDS
        )
        self._results = Counter(
            "headrace_operator_reconciles",
            "Reconciles by result: ok, stopped, conflict, throttled, refused, unavailable (no answer or 5xx), error.",
            ["result"],
            registry=registry,
        )

    def _gauges(self, registry: CollectorRegistry) -> None:
        for name, text, value in (
            ("depth", "Models that wait for their turn.", lambda: len(self._waiting)),
            ("busy", "Models that are being reconciled now.", lambda: len(self._busy)),
            ("oldest_seconds", "How long the model that waits longest has waited.", lambda: _age(self._waiting)),
            ("longest_running_seconds", "How long the longest reconcile under way has run.", lambda: _age(self._busy)),
        ):
            Gauge(f"{_PREFIX}_{name}", text, registry=registry).set_function(value)

    def running(self) -> dict[Key, float]:
        """Seconds for which each reconcile that is under way has run. Any thread may ask."""
        now = time.monotonic()
        return {key: now - since for key, since in list(self._busy.items())}

    def added(self, key: Key) -> None:
        """A model has come into the queue."""
        self._adds.inc()
        self._waiting[key] = time.monotonic()

    def dropped(self, key: Key) -> None:
        """It waits no more: another replica has taken over."""
        self._waiting.pop(key, None)

    def began(self, key: Key) -> None:
        """It is its turn. Everything that this task logs from now on names it."""
        now = time.monotonic()
        self._waits.observe(now - self._waiting.pop(key, now))
        self._busy[key] = now
        structlog.contextvars.bind_contextvars(model="/".join(key), generation=self._generation(key))

    def ended(self, key: Key, failure: BaseException | None) -> None:
        """The reconcile is over."""
        self._seconds.observe(time.monotonic() - self._busy.pop(key))
        self._results.labels(result=result(failure)).inc()
        if failure:
            self._retries.inc()
        structlog.contextvars.unbind_contextvars("model", "generation")


def result(failure: BaseException | None) -> str:
    """Why a reconcile failed, as one word of few: a label. `error` is a mistake in the operator itself."""
    if failure is None:
        return "ok"
    if isinstance(failure, asyncio.CancelledError):
        return "stopped"
    said = failure.__cause__ if isinstance(failure, Unavailable) else failure
    status = getattr(said, "status", None)  # of the Kubernetes client's ApiException
    if status in _RESULTS:
        return _RESULTS[status]
    if isinstance(failure, Unavailable):
        return "unavailable"
    if isinstance(status, int):
        return "refused" if 400 <= status < 500 else "unavailable"
    return "error"


def _age(since: dict[Key, float]) -> float:
    return max((time.monotonic() - moment for moment in since.values()), default=0.0)
