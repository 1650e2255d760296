"""Counts what every request used, once, however often its result arrives."""

from collections import OrderedDict

from headrace_api.wire import Usage
from headrace_queue.metrics import Metrics

REMEMBERED = 65_536
"""Request ids that are kept to recognise a result that comes again; a worker sends one again when it reconnects,
which is long before so many other requests have been answered."""


class Accounts:
    """Adds the tokens of each request to the metrics."""

    def __init__(self, metrics: Metrics, remembered: int = REMEMBERED) -> None:
        self._metrics = metrics
        self._remembered = remembered
        self._seen: OrderedDict[str, None] = OrderedDict()

    def record(self, request_id: str, label: str, usage: Usage | None) -> bool:
        """Count a request's tokens under the model `label`; False if that was done before."""
        if request_id in self._seen:
            return False
        self._seen[request_id] = None
        if len(self._seen) > self._remembered:
            self._seen.popitem(last=False)
        if usage is not None:
            self._metrics.tokens.labels(label, "prompt").inc(usage.prompt_tokens)
            self._metrics.tokens.labels(label, "completion").inc(usage.completion_tokens)
        return True
