"""Tells a queue how far the worker is: its state at once, its progress once a second at most."""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass

from headrace_api.wire import Report
from headrace_worker.life import State
from headrace_worker.status import Status

EVERY_S = 1.0


@dataclass
class Reports:
    """The reports of one connection. What `Register` said is not said again."""

    status: Status
    send: Callable[[Report], None]
    _last: Report | None = None
    _told_at: float = -math.inf
    """On the event loop's clock."""

    def registered_as(self, state: State) -> None:
        """Note what the queue knows from the registration."""
        self._last = Report(state=state.value)

    def due(self) -> float | None:
        """Send what is due; returns the seconds until more is, None when there is nothing to tell."""
        report = report_of(self.status)
        if report == self._last:
            return None
        wait_s = self._told_at + EVERY_S - _now()
        if wait_s > 0 and self._last and self._last.state == report.state:
            return wait_s
        self.now()
        return None

    def now(self) -> None:
        """Send what has not been told, without waiting."""
        report = report_of(self.status)
        if report != self._last:
            self._last, self._told_at = report, _now()
            self.send(report)


def _now() -> float:
    return asyncio.get_running_loop().time()


def report_of(status: Status) -> Report:
    """The worker's state as the protocol has it."""
    progress = status.progress
    return Report(
        state=status.state.value,
        detail=progress.detail,
        done_bytes=progress.done_bytes,
        total_bytes=progress.total_bytes,
    )
