"""Ways to break the real code. The simulator must find each of them, or it would find nothing."""

from collections.abc import Callable
from typing import Any

import pytest

from headrace_queue.accounts import Accounts
from headrace_queue.dispatch import Dispatcher
from headrace_queue.exchange import Exchange
from headrace_queue.schedule import Schedule
from headrace_queue.worker_socket import V1Link
from headrace_worker import v1
from headrace_worker.v1 import V1Session

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
    real = Accounts.record

    def forget(self: Accounts, *told: Any) -> bool:
        self._seen.clear()
        return real(self, *told)

    patch.setattr(Accounts, "record", forget)


def results_are_not_told_again(patch: pytest.MonkeyPatch) -> None:
    def forget(self: V1Session) -> None:
        self.registered.set()
        self._grant()

    patch.setattr(V1Session, "_on_registered", forget)


def clients_that_leave_go_unnoticed_by_engines(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(V1Link, "cancel", lambda _self, _job: None)


def bytes_of_waiting_requests_are_not_counted_down(patch: pytest.MonkeyPatch) -> None:
    real = Dispatcher._release

    def release(self: Dispatcher, exchange: Exchange) -> None:
        before = self._waiting_bytes
        real(self, exchange)
        self._waiting_bytes = before

    patch.setattr(Dispatcher, "_release", release)


def a_failed_workers_words_stay(patch: pytest.MonkeyPatch) -> None:
    real = Dispatcher._try_again

    def keep(self: Dispatcher, exchange: Exchange) -> None:
        said = list(exchange._pieces)
        real(self, exchange)
        if not exchange.over and not exchange._pieces:
            for piece in said:
                exchange.put(piece)

    patch.setattr(Dispatcher, "_try_again", keep)


ALL: tuple[Break, ...] = (
    requests_of_a_lost_worker_are_forgotten,
    a_job_costs_no_credit,
    a_broken_job_gives_no_credit_back,
    results_that_come_again_are_counted_again,
    results_are_not_told_again,
    clients_that_leave_go_unnoticed_by_engines,
    bytes_of_waiting_requests_are_not_counted_down,
    a_failed_workers_words_stay,
)
