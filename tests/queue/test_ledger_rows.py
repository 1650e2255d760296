"""One row a request, whoever tells of it, in whatever order, also when databases fail."""

import io
import itertools
import json
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger_setup import BLANK, entry, stored
from prometheus_client import CollectorRegistry
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError

from headrace_api.wire import Usage
from headrace_queue.ledger.counts import Counts, possible
from headrace_queue.ledger.entry import Entry, merged
from headrace_queue.ledger.metrics import LedgerMetrics
from headrace_queue.ledger.outcome import outcome
from headrace_queue.ledger.receipts import Receipt, Receipts
from headrace_queue.ledger.rows import LedgerRows, day_of, storable
from headrace_queue.ledger.secrets import shared_secret
from headrace_queue.ledger.writer import Batch, Writer
from headrace_queue.logs import make_logger


def nothing(_connection: Connection, _new: Sequence[Entry]) -> None:
    pass


# ---- whose word counts

OWN = entry(
    outcome="partial", prompt_tokens=0, cached_tokens=0, completion_tokens=0, gpu_seconds=0.0, doubt="uncounted"
)
TOLD = entry(outcome="cancelled", key="k2", received_at=5.0, completion_tokens=9, gpu_seconds=2.0, doubt="receipt")


def folded(entries: Sequence[Entry]) -> Entry:
    found = entries[0]
    for one in entries[1:]:
        found = merged(found, one) or found
    return found


@pytest.mark.parametrize("order", list(itertools.permutations([OWN, TOLD, TOLD])))
def test_tokens_come_from_whoever_counted_them_and_the_rest_from_the_queue_that_had_it(order: Sequence[Entry]) -> None:
    counted = OWN._replace(prompt_tokens=3, cached_tokens=1, completion_tokens=9, gpu_seconds=2.0, doubt="")
    assert folded(order) == counted


def test_an_estimate_stays_one() -> None:
    told = TOLD._replace(doubt="receipt estimated")
    assert {(merged(OWN, told) or OWN).doubt, (merged(told, OWN) or told).doubt} == {"estimated"}


GUESSED = OWN._replace(completion_tokens=3, doubt="estimated")


@pytest.mark.parametrize("order", list(itertools.permutations([GUESSED, TOLD, TOLD])))
def test_a_count_replaces_an_estimate(order: Sequence[Entry]) -> None:
    counted = GUESSED._replace(prompt_tokens=3, cached_tokens=1, completion_tokens=9, gpu_seconds=2.0, doubt="")
    assert folded(order) == counted


def test_a_late_word_adds_its_gpu_time_to_that_of_workers_before() -> None:
    own = GUESSED._replace(gpu_seconds=0.5)
    assert folded([own, TOLD, TOLD]).gpu_seconds == folded([TOLD, own, TOLD]).gpu_seconds == 2.5


def test_what_an_earlier_worker_counted_takes_no_gpu_time_away() -> None:
    told = TOLD._replace(worker="an earlier one")
    assert folded([OWN._replace(gpu_seconds=5.0), told]).gpu_seconds == 5.0


@pytest.mark.parametrize("doubt", ["receipt estimated", "receipt uncounted"])
def test_who_has_not_counted_tells_its_gpu_time_all_the_same(doubt: str) -> None:
    for own in (GUESSED, OWN):
        told = TOLD._replace(doubt=doubt, completion_tokens=0, prompt_tokens=0, cached_tokens=0)
        assert folded([own, told, told]).gpu_seconds == folded([told, own]).gpu_seconds == 2.0


def test_of_two_estimates_of_the_same_answer_the_larger_one_counts() -> None:
    told = TOLD._replace(doubt="receipt estimated")
    for found in (folded([GUESSED, told, told]), folded([told, GUESSED])):
        assert (found.prompt_tokens, found.completion_tokens, found.doubt) == (3, 9, "estimated")


@pytest.mark.parametrize(
    ("own", "told"),
    [
        ({"doubt": "estimated continued"}, {}),
        ({}, {"worker": "an earlier one"}),
        ({}, {"doubt": "receipt corrected"}),
        ({}, {"doubt": "receipt unsigned"}),
        ({"gpu_seconds": 0.5}, {"doubt": "receipt estimated", "completion_tokens": 2}),
    ],
)
def test_what_is_no_better_count_of_the_same_answer_replaces_nothing(own: dict[str, Any], told: dict[str, Any]) -> None:
    ours, other = GUESSED._replace(**own), TOLD._replace(**told)
    assert folded([ours, other]) == folded([other, ours]) == ours


LIE = TOLD._replace(completion_tokens=10**6, worker="liar", doubt="receipt unsigned")


@pytest.mark.parametrize("order", list(itertools.permutations([OWN, TOLD, LIE])))
def test_who_cannot_show_a_receipt_is_not_believed_where_others_have_counted(order: Sequence[Entry]) -> None:
    assert folded(order).completion_tokens == 9
    assert folded([each for each in order if each is not TOLD]).completion_tokens == 0
    assert folded([each for each in order if each is not OWN]) == TOLD


def test_the_same_again_changes_nothing() -> None:
    assert merged(BLANK, BLANK._replace(completion_tokens=99)) is None
    assert merged(BLANK, TOLD) is None
    assert merged(TOLD, TOLD) is None


# ---- what a worker says

TEXTS = st.text()


@given(TEXTS, st.builds(Receipt, TEXTS, TEXTS, TEXTS, st.floats(0, 2e9), st.integers(0, 2**40)))
def test_a_receipt_comes_back_as_it_was(request_id: str, receipt: Receipt) -> None:
    receipts = Receipts("secret")
    given_out = receipts.make(request_id, receipt)
    assert receipts.read(request_id, given_out) == receipt._replace(received_at=round(receipt.received_at, 3))
    assert receipts.read(request_id + "x", given_out) is None
    assert Receipts("other").read(request_id, given_out) is None


@given(TEXTS, st.integers(0, 200))
def test_a_forged_receipt_is_none(noise: str, place: int) -> None:
    receipts = Receipts("secret")
    right = receipts.make("r", Receipt("k", "m", "", 1.0, 5))
    assert receipts.read("r", noise) is None
    changed = right[:place] + noise + right[place + 1 :]
    assert changed == right or receipts.read("r", changed) is None


NUMBERS = st.integers(0, 2**31 - 1)


USAGES = st.builds(Usage, prompt_tokens=NUMBERS, cached_tokens=NUMBERS, completion_tokens=NUMBERS)


@given(USAGES, st.floats(), st.integers(0, 2**30), st.none() | st.integers(0, 2**30), st.floats(-5, 1e6))
def test_counts_are_always_possible(usage: Usage, gpu: float, asked: int, answered: int | None, seconds: float) -> None:
    counts, honest = possible(usage, gpu, asked, answered, seconds)
    assert 0 <= counts.cached_tokens <= counts.prompt_tokens <= asked + 200_000
    assert 0 <= counts.completion_tokens <= (100_000_000 if answered is None else answered)
    assert 0 <= counts.gpu_seconds <= max(seconds, 0) * 1024
    told = Counts(usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens, gpu)
    assert honest == (counts == told)


def test_honest_counts_stay() -> None:
    usage = Usage(prompt_tokens=1200, cached_tokens=800, completion_tokens=300)
    assert possible(usage, 2.5, 4000, 60_000, 3.0) == (Counts(1200, 800, 300, 2.5), True)


@pytest.mark.parametrize(
    ("status", "sent", "expected"),
    [
        (200, True, "completed"),
        (499, True, "cancelled"),
        (502, True, "partial"),
        (502, False, "failed"),
        (400, False, "refused"),
        (429, False, "refused"),
        (503, False, "unserved"),
        (503, True, "partial"),
        (504, True, "timed_out"),
    ],
)
def test_outcomes(status: int, sent: bool, expected: str) -> None:
    assert outcome(status, sent=sent) == expected


# ---- in the database


def test_a_row_is_read_as_it_was_written(engine: Engine, database_url: str) -> None:
    rows = [entry("a", started_at=None, first_token_at=None), entry("b", completion_tokens=2**40)]
    assert LedgerRows(engine).write(rows, nothing) == rows
    assert stored(database_url) == {"a": rows[0], "b": rows[1]}
    with engine.connect() as connection:
        days = connection.execute(text("SELECT DISTINCT CAST(day AS TEXT) FROM ledger")).scalars().all()
    assert days == [day_of(rows[0].ended_at)] == ["2001-09-09"]


def test_what_is_there_is_not_written_again(engine: Engine, database_url: str) -> None:
    rows, told = LedgerRows(engine), []

    def tell(_connection: Connection, new: Sequence[Entry]) -> None:
        told.append([each.request_id for each in new])

    rows.write([entry("a"), entry("b")], tell)
    assert [each.request_id for each in rows.write([entry("b", key="x"), entry("c")], tell)] == ["c"]
    assert rows.write([entry("c")], tell) == []
    assert told == [["a", "b"], ["c"], []]
    assert stored(database_url) == {name: entry(name) for name in "abc"}


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("order", [[OWN, TOLD], [TOLD, OWN]])
def test_two_words_for_one_request_make_one_row(
    engine: Engine, database_url: str, order: list[Entry], together: bool
) -> None:
    rows = LedgerRows(engine)
    for told in [[*order, entry("x")]] if together else [[each] for each in order]:
        rows.write(told, nothing)
    row = stored(database_url)["r"]
    assert (row.outcome, row.key, row.completion_tokens, row.gpu_seconds, row.doubt) == ("partial", "k", 9, 2.0, "")


def test_replicas_that_write_the_same_rows_at_once_write_each_once(engine: Engine, database_url: str) -> None:
    rows, gate = LedgerRows(engine), threading.Barrier(4)

    def write(number: int) -> int:
        gate.wait()
        mine = [entry(str(index), key=str(number)) for index in range(number, number + 60)]
        return sum(len(rows.write(mine[start : start + 20], nothing)) for start in range(0, 60, 20))

    with ThreadPoolExecutor(4) as pool:
        new = sum(pool.map(write, range(4)))
    assert new == len(stored(database_url)) == 63


@given(st.builds(entry, TEXTS, key=TEXTS, model=TEXTS, adapter=TEXTS, worker=TEXTS))
def test_names_become_storable(row: Entry) -> None:
    kept = storable(row)
    for before, after in zip(row[:5], kept[:5], strict=True):
        assert "\0" not in after
        assert len(after.encode()) <= 800
        assert after == before or not before.isprintable() or len(before) > 200


def test_odd_names_reach_every_database(engine: Engine, database_url: str) -> None:
    row = entry("a\0\ud800", key="ü" * 300, model="\x01", worker="'; DROP TABLE ledger; --")
    LedgerRows(engine).write([row], nothing)
    assert stored(database_url).keys() == {"a?"}


def test_replicas_agree_on_a_secret(engine: Engine) -> None:
    with ThreadPoolExecutor(6) as pool:
        assert len(set(pool.map(lambda _: shared_secret(engine, "receipts"), range(6)))) == 1


# ---- the thread


class Wires:
    """A writer with what it was told and what it tells."""

    def __init__(self, write: Callable[[Sequence[Entry]], list[Entry]]) -> None:
        self.registry, self.log = CollectorRegistry(), io.StringIO()
        self.done: list[str] = []
        self.writer = Writer(write, self._written, LedgerMetrics(self.registry), make_logger(stream=self.log))
        self.writer.start()

    def _written(self, batch: Batch, _new: Sequence[Entry]) -> None:
        self.done += [each.request_id for each, _ in batch]

    def events(self) -> list[str]:
        return [json.loads(line)["event"] for line in self.log.getvalue().splitlines()]

    def metric(self, name: str) -> float | None:
        return self.registry.get_sample_value(f"headrace_queue_ledger_{name}")


def test_rows_wait_while_the_database_is_away() -> None:
    away, seen = threading.Event(), threading.Event()
    away.set()

    def write(entries: Sequence[Entry]) -> list[Entry]:
        if away.is_set():
            seen.set()
            raise OperationalError("INSERT", {}, Exception("gone"))
        return list(entries)

    wires = Wires(write)
    for name in "abc":
        wires.writer.put([(entry(name), None)])
    assert seen.wait(5)
    seen.clear()
    assert seen.wait(5), "it is tried again"
    assert (wires.done, wires.metric("up")) == ([], 0)
    away.clear()
    wires.writer.stop(5)
    assert (wires.done, wires.metric("up")) == (["a", "b", "c"], 1)
    assert wires.events() == ["the ledger cannot be written; rows wait", "the ledger is written again"]


def test_a_stop_does_not_wait_for_ever() -> None:
    def write(_: Sequence[Entry]) -> list[Entry]:
        raise OperationalError("INSERT", {}, Exception("gone"))

    wires = Wires(write)
    wires.writer.put([(BLANK, None)])
    wires.writer.stop(0.2)
    assert wires.done == []


def test_one_row_that_cannot_be_stored_does_not_hold_up_the_others(engine: Engine, database_url: str) -> None:
    rows = LedgerRows(engine)
    wires = Wires(lambda entries: rows.write(entries, nothing))
    bad = entry("bad", completion_tokens=2**70)
    wires.writer.put([(entry("a"), None), (bad, None), (entry("b"), None)])
    wires.writer.stop(5)
    assert wires.done == ["a", "bad", "b"]
    assert stored(database_url).keys() == {"a", "b"}
    assert wires.metric("rejected_rows_total") == 1
    (line,) = [json.loads(line) for line in wires.log.getvalue().splitlines()]
    assert line["row"]["completion_tokens"] == 2**70
