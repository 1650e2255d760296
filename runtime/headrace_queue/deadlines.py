"""Ends requests whose time is over: that of all requests, or the one that their client has set."""

from collections.abc import Callable
from functools import partial

from headrace_queue import errors
from headrace_queue.clock import Clock
from headrace_queue.exchange import End, Exchange
from headrace_queue.timeouts import Timeouts


class Deadlines:
    """The exchanges under way, each with its bound; `expire` is called with one that is late, and its end."""

    def __init__(self, clock: Clock, most_seconds: float, expire: Callable[[Exchange, End], object]) -> None:
        self._clock = clock
        self._most = most_seconds
        self._tell = expire
        self._bounds = Timeouts[Exchange](clock, most_seconds, self._expire)

    def add(self, exchange: Exchange) -> None:
        """Its time begins now."""
        self._bounds.add(exchange, exchange.began)
        wanted = exchange.call.deadline_s
        if wanted is not None and wanted < self._most:
            exchange.deadline = self._clock.call_later(wanted, partial(self._expire, exchange))

    def discard(self, exchange: Exchange) -> None:
        """It is over."""
        self._bounds.discard(exchange)
        if exchange.deadline:
            exchange.deadline.cancel()

    def _expire(self, exchange: Exchange) -> None:
        wanted = exchange.call.deadline_s
        is_late = wanted is not None and wanted < self._most
        self._tell(exchange, End.failed(errors.too_late(wanted) if is_late else errors.timed_out(self._most)))
