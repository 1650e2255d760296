"""Ways to break the real code. The simulator must find each of them, or it would find nothing."""

from collections.abc import Callable
from typing import Any

import pytest

from headrace_queue.dispatch import Dispatcher
from headrace_queue.exchange import Exchange
from headrace_queue.schedule import Schedule
from headrace_worker import v1
from headrace_worker.v1 import V1Session
from tests.simulation.queue_actor import Ledger

Break = Callable[[pytest.MonkeyPatch], None]


def requests_of_a_lost_worker_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    real = Dispatcher._hold

    def forget(self: Dispatcher, exchange: Exchange) -> None:
        if not exchange.attempts:
            real(self, exchange)

    patch.setattr(Dispatcher, "_hold", forget)


def a_job_costs_no_credit(patch: pytest.MonkeyPatch) -> None:
    real = Schedule._hand_out

    def give_away(self: Schedule, entry: Any, worker: Any) -> None:
        real(self, entry, worker)
        worker.credits += 1
        self._force.rank(worker)

    patch.setattr(Schedule, "_hand_out", give_away)


def a_broken_job_gives_no_credit_back(patch: pytest.MonkeyPatch) -> None:
    real: Any = v1.ending_of

    def swallow(running: Any, task: Any) -> Any:
        return None if task.cancelled() else real(running, task)

    patch.setattr(v1, "ending_of", swallow)


def results_that_come_again_are_counted_again(patch: pytest.MonkeyPatch) -> None:
    real = Ledger.record

    def forget(self: Ledger, *told: Any) -> None:
        self._rows.clear()
        real(self, *told)

    patch.setattr(Ledger, "record", forget)


def results_are_not_told_again(patch: pytest.MonkeyPatch) -> None:
    def forget(self: V1Session) -> None:
        self.registered.set()
        self._grant()

    patch.setattr(V1Session, "_on_registered", forget)


def the_first_workers_words_stay(patch: pytest.MonkeyPatch) -> None:
    real_read, real_restart = Exchange.read, Exchange.restart

    async def read(self: Exchange) -> Any:
        patch.setattr(Exchange, "restart", real_restart)
        try:
            return await real_read(self)
        finally:
            patch.setattr(Exchange, "restart", lambda _: None)

    del read
    patch.setattr(Exchange, "restart", lambda self: setattr(self, "_size", sum(map(len, self._pieces))))
    patch.setattr(Exchange, "_readable", Exchange._readable)
