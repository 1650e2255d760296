"""Metrics that are counted with every request: a number is raised; what Prometheus wants of it is made when it asks.

prometheus_client's own take a lock for each of their numbers and look at every bucket in turn, for threads that a
worker's requests do not have; with nine of them a request that was a tenth of what the worker did for it.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import accumulate

from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector


class Histogram(Collector):
    """Counts what it observes by bucket."""

    def __init__(self, name: str, text: str, *, buckets: Iterable[float]) -> None:
        self._name, self._text = name, text
        self._bounds = tuple(map(float, buckets))
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value in the first bucket whose bound is not less."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """See `Collector`."""
        bounds = [*map(str, self._bounds), "+Inf"]
        buckets = list(zip(bounds, map(float, accumulate(self._counts)), strict=True))
        yield HistogramMetricFamily(self._name, self._text, buckets=buckets, sum_value=self._sum)


class Counter(Collector):
    """Counts by the value of one label."""

    def __init__(self, name: str, text: str, *, label: str, begun: Iterable[str | int] = ()) -> None:
        """`begun` are values that are shown before anything was counted."""
        self._name, self._text, self._label = name, text, label
        self._counts: dict[str | int, float] = dict.fromkeys(begun, 0.0)

    def add(self, value: str | int, number: float = 1) -> None:
        """Raise the count of a label's value."""
        self._counts[value] = self._counts.get(value, 0) + number

    def __getitem__(self, value: str | int) -> float:
        """The count so far."""
        return self._counts.get(value, 0)

    def collect(self) -> Iterator[CounterMetricFamily]:
        """See `Collector`."""
        family = CounterMetricFamily(self._name, self._text, labels=[self._label])
        for value, count in self._counts.items():
            family.add_metric([str(value)], count)
        yield family
