"""Ways to break the real code. The simulator must find each of them, or it would find nothing."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from headrace_queue.dispatch import Dispatcher
from headrace_queue.exchange import Call, Exchange
from headrace_queue.keys.meter import Gauge, Kind, Taken
from headrace_queue.ledger.bookkeeper import Bookkeeper
from headrace_queue.ledger.entry import ESTIMATED, Entry, merged
from headrace_queue.ledger.ledger import Ledger
from headrace_queue.room import Room
from headrace_queue.schedule import Schedule, shares
from headrace_queue.schedule.shares import Shares
from headrace_queue.waiting_room import WaitingRoom
from headrace_queue.worker_socket import V1Link
from headrace_worker import job_runner
from headrace_worker.unacked import Tell, Unacked
from tests.simulation import database

Break = Callable[[pytest.MonkeyPatch], None]


def requests_of_a_lost_worker_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    real = WaitingRoom.enter

    def forget(self: WaitingRoom, exchange: Exchange) -> None:
        if not exchange.attempts:
            real(self, exchange)

    patch.setattr(WaitingRoom, "enter", forget)


def a_job_costs_no_credit(patch: pytest.MonkeyPatch) -> None:
    real = Schedule._hand_out

    def give_away(self: Schedule, entry: Any, worker: Any) -> None:
        real(self, entry, worker)
        worker.credits += 1
        self._force.rank(worker)

    patch.setattr(Schedule, "_hand_out", give_away)


def a_broken_job_gives_no_credit_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(job_runner, "ending_of_stopped", lambda _running, _why: None)


def rows_are_not_written(patch: pytest.MonkeyPatch) -> None:
    real = Bookkeeper.close

    def forget(self: Bookkeeper, exchange: Exchange) -> None:
        if exchange.attempts < 2:
            real(self, exchange)

    patch.setattr(Bookkeeper, "close", forget)


def results_are_acknowledged_before_the_commit(patch: pytest.MonkeyPatch) -> None:
    real = Ledger.record

    def hurry(self: Ledger, entry: Any, committed: Any = None) -> None:
        if committed:
            committed()
        real(self, entry)

    patch.setattr(Ledger, "record", hurry)


def late_counts_are_thrown_away(patch: pytest.MonkeyPatch) -> None:
    def forget(there: Entry, told: Entry) -> Entry | None:
        return None if there.doubts(ESTIMATED) else merged(there, told)

    patch.setattr(database, "merged", forget)


def results_are_not_told_again(patch: pytest.MonkeyPatch) -> None:
    def forget(self: Unacked, home: str, tell: Tell) -> None:
        self._here[home] = tell

    patch.setattr(Unacked, "arrive", forget)


def clients_that_leave_go_unnoticed_by_engines(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(V1Link, "cancel", lambda _self, _job: None)


def bytes_of_waiting_requests_are_not_counted_down(patch: pytest.MonkeyPatch) -> None:
    real = Room.remove

    def remove(self: Room, call: Call) -> None:
        real(self, call)
        self.bytes += len(call.raw)

    patch.setattr(Room, "remove", remove)


def a_failed_workers_words_stay(patch: pytest.MonkeyPatch) -> None:
    real = Dispatcher._try_again

    def keep(self: Dispatcher, exchange: Exchange) -> None:
        said = list(exchange._pieces)
        real(self, exchange)
        if not exchange.over and not exchange._pieces:
            for piece in said:
                exchange.put(piece)

    patch.setattr(Dispatcher, "_try_again", keep)


def one_key_is_charged_nothing(patch: pytest.MonkeyPatch) -> None:
    real = Shares._charge

    def charge(self: Shares, entry: shares.Entry, charge: float) -> None:
        real(self, entry, 0.0 if entry.flow.key == "k1" else charge)

    patch.setattr(Shares, "_charge", charge)


def one_key_is_charged_too_much(patch: pytest.MonkeyPatch) -> None:
    real = Shares._charge

    def charge(self: Shares, entry: shares.Entry, charge: float) -> None:
        real(self, entry, charge * 16 if entry.flow.key == "k2" else charge)

    patch.setattr(Shares, "_charge", charge)


def keys_that_come_later_begin_below_the_others(patch: pytest.MonkeyPatch) -> None:
    def begin(self: Shares, entry: shares.Entry) -> None:
        if turns := self.lines.get(entry.line):
            turns.left[entry.flow] = 0.0

    patch.setattr(Shares, "_catch_up", begin)


def the_youngest_of_the_priorities_goes_first(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Shares, "urgency", lambda _self, entry, _served: (entry.since, entry.ticket))


def what_unanswered_requests_reserved_is_not_given_back(patch: pytest.MonkeyPatch) -> None:
    real = Taken.settle

    def settle(self: Taken, tokens: float, now: float) -> None:
        if tokens:
            real(self, tokens, now)

    patch.setattr(Taken, "settle", settle)


def more_requests_a_minute_are_let_in(patch: pytest.MonkeyPatch) -> None:
    _let_in(patch, Kind.REQUESTS_PER_MINUTE)


def more_requests_at_a_time_are_let_in(patch: pytest.MonkeyPatch) -> None:
    _let_in(patch, Kind.CONCURRENT_REQUESTS)


def _let_in(patch: pytest.MonkeyPatch, kind: Kind) -> None:
    real = Gauge.fits

    def fits(self: Gauge, need: float, now: float) -> bool:
        return real(self, need, now) or self.kind is kind

    patch.setattr(Gauge, "fits", fits)


def rows_have_no_key(patch: pytest.MonkeyPatch) -> None:
    real = Bookkeeper.close

    def close(self: Bookkeeper, exchange: Exchange) -> None:
        exchange.call = replace(exchange.call, key="")
        real(self, exchange)

    patch.setattr(Bookkeeper, "close", close)


ALL: tuple[Break, ...] = (
    requests_of_a_lost_worker_are_forgotten,
    a_job_costs_no_credit,
    a_broken_job_gives_no_credit_back,
    rows_are_not_written,
    results_are_acknowledged_before_the_commit,
    late_counts_are_thrown_away,
    results_are_not_told_again,
    clients_that_leave_go_unnoticed_by_engines,
    bytes_of_waiting_requests_are_not_counted_down,
    a_failed_workers_words_stay,
    one_key_is_charged_nothing,
    one_key_is_charged_too_much,
    keys_that_come_later_begin_below_the_others,
    the_youngest_of_the_priorities_goes_first,
    what_unanswered_requests_reserved_is_not_given_back,
    more_requests_a_minute_are_let_in,
    more_requests_at_a_time_are_let_in,
    rows_have_no_key,
)
