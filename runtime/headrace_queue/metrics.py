"""The queue's Prometheus metrics.

The label `model` is bounded: it is a name that a worker, the operator or an option announced, or `other`. Names that
only a client has said (a generalist answers to any) never become labels.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from headrace_api.load import ModelLoad
from headrace_queue import snapshot
from headrace_queue.request_metrics import RequestMetrics

if TYPE_CHECKING:
    from headrace_queue.dispatch import Dispatcher

OTHER = "other"
"""The label of every model that nobody announced."""


class Metrics:
    """What is counted, in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = RequestMetrics()
        registry.register(self.requests)
        self.disconnects = Counter(
            "headrace_queue_worker_disconnects", "Connections of workers that ended, by protocol.",
            ("protocol",), registry=registry,
        )  # fmt: skip
        self.handbacks = Counter(
            "headrace_queue_handbacks", "Jobs that workers handed back.", ("model",), registry=registry
        )


class LoadCollector(Collector):
    """Gauges of what waits, what runs and who works, read when Prometheus asks."""

    def __init__(
        self, load: Callable[[], Mapping[str, ModelLoad]], label: Callable[[str], str], generalists: Callable[[], int]
    ) -> None:
        self._load = load
        self._label = label
        self._generalists = generalists

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """One sample per label and gauge; models that share a label are added up."""
        totals: dict[str, list[int]] = {}
        for model, load in self._load().items():
            total = totals.setdefault(self._label(model), [0] * len(_GAUGES))
            for index, value in enumerate((load.queued, load.running, load.workers, len(load.starting))):
                total[index] += value
        for index, (name, text) in enumerate(_GAUGES):
            family = GaugeMetricFamily(name, text, labels=("model",))
            for label, total in totals.items():
                family.add_metric((label,), total[index])
            yield family
        yield GaugeMetricFamily(
            "headrace_queue_generalists", "Connected workers of the seed's protocol.", value=self._generalists()
        )


class OutlookCollector(Collector):
    """Gauges of how well workers do and how long requests will wait, read when Prometheus asks."""

    def __init__(self, dispatcher: "Dispatcher", label: Callable[[str], str]) -> None:
        self._dispatcher = dispatcher
        self._label = label

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """One sample per label and gauge; of models that share a label the longest wait."""
        waits: dict[str, float] = {}
        for model, seconds in snapshot.expected_waits(self._dispatcher).items():
            label = self._label(model)
            waits[label] = max(waits.get(label, 0.0), seconds)
        yield _family("headrace_queue_expected_wait_seconds", "Until the last that waits is begun.", waits)
        resting: dict[str, float] = {}
        for worker in snapshot.workers(self._dispatcher):
            for label in {self._label(model) for model in worker.models or (worker.loaded,)} if worker.resting else ():
                resting[label] = resting.get(label, 0.0) + 1
        yield _family("headrace_queue_resting_workers", "Workers that are given nothing, after failures.", resting)


def _family(name: str, text: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=("model",))
    for label, value in values.items():
        family.add_metric((label,), value)
    return family


_GAUGES = (
    ("headrace_queue_queued_requests", "Requests that wait for a worker."),
    ("headrace_queue_running_requests", "Requests that a worker has."),
    ("headrace_queue_workers", "Connected workers that are dedicated to the model and take requests."),
    ("headrace_queue_starting_workers", "Connected workers that are dedicated to the model and not ready yet."),
)
