"""What is counted with every request: plain numbers, of which Prometheus gets its own when it asks.

prometheus_client's take a lock each, for threads that requests do not have: a thirtieth of what a request costs.
"""

from bisect import bisect_left
from collections.abc import Iterable
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


class RequestMetrics(Collector):
    """By the label of the model, see `metrics`."""

    def __init__(self) -> None:
        self._requests: dict[tuple[str, int], int] = {}
        self._tokens: dict[str, list[int]] = {}
        self._waits: dict[str, list[int]] = {}
        self._waited: dict[str, float] = {}

    def count(self, label: str, status: int) -> None:
        """One more request has been answered."""
        key = (label, status)
        self._requests[key] = self._requests.get(key, 0) + 1

    def count_tokens(self, label: str, prompt: int, completion: int) -> None:
        """One more request has been accounted for."""
        tokens = self._tokens.setdefault(label, [0, 0])
        tokens[0] += prompt
        tokens[1] += completion

    def observe_first_piece(self, label: str, seconds: float) -> None:
        """How long one request waited for the first bytes of its answer."""
        waits = self._waits.get(label)
        if waits is None:
            waits = self._waits[label] = [0] * (len(_SECONDS) + 1)
        waits[bisect_left(_SECONDS, seconds)] += 1
        self._waited[label] = self._waited.get(label, 0.0) + seconds

    def completion_tokens(self) -> dict[str, int]:
        """So far, by label."""
        return {label: completion for label, (_, completion) in self._tokens.items()}

    def describe(self) -> Iterable[Metric]:
        """See `Collector`."""
        return self.collect()

    def collect(self) -> Iterable[Metric]:
        """See `Collector`."""
        requests = CounterMetricFamily(
            "headrace_queue_requests",
            "Requests answered, by HTTP status (499: client left).",
            labels=("model", "status"),
        )
        for (label, status), number in self._requests.items():
            requests.add_metric((label, str(status)), number)
        yield requests
        waits = HistogramMetricFamily(
            "headrace_queue_first_piece_seconds",
            "From the request to the first bytes of its answer.",
            labels=("model",),
        )
        bounds = [*map(str, _SECONDS), "+Inf"]
        for label, counts in self._waits.items():
            waits.add_metric((label,), list(zip(bounds, accumulate(counts), strict=True)), self._waited[label])
        yield waits
        tokens = CounterMetricFamily(
            "headrace_queue_tokens", "Tokens as engines counted them, once per request.", labels=("model", "kind")
        )
        for label, (prompt, completion) in self._tokens.items():
            tokens.add_metric((label, "prompt"), prompt)
            tokens.add_metric((label, "completion"), completion)
        yield tokens
