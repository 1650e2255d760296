"""What the queue has not acknowledged."""

import asyncio

import structlog

from headrace_api.wire import Result

_UNACKED_LIMIT = 10_000

log = structlog.get_logger()


class Unacked:
    """Results that the queue has not acknowledged; outlives connections, as the queue's bookkeeping relies on it."""

    def __init__(self) -> None:
        self._results: dict[str, Result] = {}
        self.empty = asyncio.Event()
        self.empty.set()

    def add(self, result: Result) -> None:
        """Keep a result, at the cost of the oldest when there are more than a queue could reasonably owe."""
        self._results[result.request_id] = result
        self.empty.clear()
        if len(self._results) > _UNACKED_LIMIT:
            oldest = next(iter(self._results))
            log.error("a result was never acknowledged and is given up", request_id=oldest, kept=_UNACKED_LIMIT)
            del self._results[oldest]

    def acknowledge(self, request_id: str) -> None:
        """Forget a result that the queue has."""
        self._results.pop(request_id, None)
        if not self._results:
            self.empty.set()

    def all(self) -> list[Result]:
        """The kept results, oldest first."""
        return list(self._results.values())
