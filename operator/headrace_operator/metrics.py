"""The operator's Prometheus metrics, in a registry of their own."""

import time
from collections.abc import Awaitable, Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from headrace_operator.observed import Key, Object
from headrace_operator.status import ready_reason


class ReconcileMetrics:
    """How long reconciles take and how they end."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._seconds = Histogram("headrace_operator_reconcile_seconds", "Time of one reconcile.", registry=registry)
        self._results = Counter("headrace_operator_reconciles", "Reconciles by result.", ["result"], registry=registry)

    def measured(self, work: Callable[[Key], Awaitable[None]]) -> Callable[[Key], Awaitable[None]]:
        """`work`, counted and timed."""

        async def run(key: Key) -> None:
            began = time.perf_counter()
            result = "error"
            try:
                await work(key)
                result = "ok"
            finally:
                self._seconds.observe(time.perf_counter() - began)
                self._results.labels(result=result).inc()

        return run


class ModelsCollector(Collector):
    """How many models there are by the reason of their Ready condition, counted when asked."""

    def __init__(self, models: Callable[[], list[Object]], waiting: Callable[[], int]) -> None:
        self._models = models
        self._waiting = waiting

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """The families that Prometheus reads."""
        by_reason: dict[tuple[str, str], int] = {}
        for model in self._models():
            holds, reason, _ = ready_reason(model.get("status") or {})
            by_reason[holds, reason] = by_reason.get((holds, reason), 0) + 1
        family = GaugeMetricFamily("headrace_operator_models", "Models by readiness.", labels=["ready", "reason"])
        for labels, count in sorted(by_reason.items()):
            family.add_metric(labels, count)
        yield family
        yield GaugeMetricFamily("headrace_operator_work_queue_length", "Models to look at.", value=self._waiting())
