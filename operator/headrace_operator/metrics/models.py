"""The models by their conditions, counted when Prometheus asks: nothing is kept, so nothing can be out of date."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from headrace_operator.observed import Object

_WELL = {"Ready": "True", "Stalled": "False", "UpToDate": "True"}
"""The conditions that somebody is told of when they are not so."""


class ModelsCollector(Collector):
    """Counts for dashboards, and one series for each condition that is not as it should be, for alerts."""

    def __init__(self, models: Callable[[], list[Object]]) -> None:
        self._models = models

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The families that Prometheus reads."""
        models = self._models()
        yield GaugeMetricFamily("headrace_operator_models", "Models that there are.", value=len(models))
        yield _by_condition(models)
        yield _unwell(models)


def _by_condition(models: Iterable[Object]) -> GaugeMetricFamily:
    counts: Counter[tuple[str, str, str]] = Counter()
    for model in models:
        counts.update((one["type"], one["status"], one["reason"]) for one in _conditions(model))
    family = GaugeMetricFamily(
        "headrace_operator_model_conditions",
        "Models by the status and reason of each condition.",
        labels=["condition", "status", "reason"],
    )
    for labels, count in sorted(counts.items()):
        family.add_metric(labels, count)
    return family


def _unwell(models: Iterable[Object]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(
        "headrace_operator_model_unwell_since_timestamp_seconds",
        "Since when a model is not Ready, is Stalled, or is not UpToDate; absent when it is well.",
        labels=["model_namespace", "model", "condition", "reason"],
    )
    for model in models:
        metadata = model["metadata"]
        for one in _conditions(model):
            if one["type"] in _WELL and one["status"] != _WELL[one["type"]]:
                labels = (metadata["namespace"], metadata["name"], one["type"], one["reason"])
                family.add_metric(labels, _seconds(one["lastTransitionTime"]))
    return family


def _conditions(model: Object) -> list[Object]:
    conditions: list[Object] = (model.get("status") or {}).get("conditions") or []
    return conditions


def _seconds(time: str) -> float:
    """RFC 3339, as the API server checks it, in seconds since 1970."""
    return datetime.fromisoformat(time).timestamp()
