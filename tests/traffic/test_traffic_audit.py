"""The audit of the traffic driver: each thing that can be wrong is found, and what the design allows is not."""

from dataclasses import replace

import pytest

from tests.traffic.audit import audit
from tests.traffic.books import Act, Asked, Disturbance, End, Row

DONE = Asked("team", "chat", 10.0, 11.0, End.COMPLETE, "r1", begun=True, tokens=(3, 4))
ROW = Row("r1", "team", "m", "w", 3, 4, 10.01, "completed", "")
UNKNOWN = replace(DONE, end=End.BROKEN, request_id="", tokens=None)


def act(kind: Act, began: float = 10.5, ended: float = 12.0) -> Disturbance:
    return Disturbance(kind, "victim", began, ended)


def test_books_that_agree_have_no_problem():
    found = audit([DONE], [ROW], [])
    assert found.problems() == []
    assert found.outcomes == {"completed": 1}


@pytest.mark.parametrize("asked", [DONE, replace(DONE, request_id=""), replace(UNKNOWN, begun=True)])
def test_a_lost_row_is_found(asked):
    assert audit([asked], [], [act(Act.QUEUE_KILLED)]).lost == [asked]


@pytest.mark.parametrize("request_id", ["r1", ""])
def test_a_doubled_row_is_found_though_it_has_another_id(request_id):
    twice = [ROW, replace(ROW, request_id="r2")]
    asked = replace(DONE, request_id=request_id)
    assert audit([asked], twice, []).doubled == [(asked, twice)]


@pytest.mark.parametrize("change", [{"key": "nobody"}, {"received_at": 12.0}, {"key": ""}])
def test_a_row_of_no_request_is_found(change):
    row = replace(ROW, request_id="r2", **change)
    found = audit([DONE], [ROW, row], [])
    assert found.stray == [row]
    assert len(found.problems()) == 1


def test_a_row_with_a_requests_id_but_another_key_is_not_its_own():
    found = audit([DONE], [replace(ROW, key="other")], [])
    assert len(found.stray) == len(found.lost) == 1


def test_one_of_many_that_were_asked_at_once_is_not_guessed():
    book = [DONE, replace(DONE, request_id="r2")]
    extra = replace(ROW, request_id="r3")
    assert audit(book, [ROW, replace(ROW, request_id="r2"), extra], []).stray == [extra]


@pytest.mark.parametrize(
    ("end", "code", "outcome", "fits"),
    [
        (End.COMPLETE, "", "completed", True),
        (End.COMPLETE, "", "cancelled", False),
        (End.COMPLETE, "", "partial", False),
        (End.LEFT, "", "cancelled", True),
        (End.LEFT, "", "failed", False),
        (End.BROKEN, "", "partial", True),
        (End.BROKEN, "", "unserved", False),
        (End.ERROR, "draining", "unserved", True),
        (End.ERROR, "draining", "completed", False),
        (End.BROKE_OFF, "worker_lost", "partial", True),
        (End.HUNG, "", "completed", False),
    ],
)
def test_the_outcome_must_fit_the_end(end, code, outcome, fits):
    asked = replace(DONE, end=end, code=code, tokens=None)
    found = audit([asked], [replace(ROW, outcome=outcome)], [])
    assert bool(found.misfits) != fits


@pytest.mark.parametrize(
    ("kind", "began", "fits"),
    [
        (Act.QUEUE_KILLED, 10.5, True),
        (Act.QUEUE_KILLED, 12.5, True),
        (Act.QUEUE_KILLED, 14.0, False),
        (Act.QUEUE_ROLLED, 10.5, False),
        (Act.WORKER_KILLED, 10.5, False),
    ],
)
def test_a_queue_that_dies_may_not_have_told_the_worker_that_the_client_left(kind, began, fits):
    asked, row = replace(DONE, end=End.LEFT, tokens=None), replace(ROW, outcome="partial", doubt="receipt estimated")
    assert bool(audit([asked], [row], [act(kind, began, 15.0)]).misfits) != fits
    assert audit([asked], [replace(row, doubt="estimated")], [act(kind, began, 15.0)]).misfits, "a queue has told it"


@pytest.mark.parametrize(("doubt", "problems"), [("", 1), ("estimated", 0)])
def test_tokens_must_be_those_that_the_client_was_told_unless_the_row_doubts_them(doubt, problems):
    found = audit([DONE], [replace(ROW, completion_tokens=5, doubt=doubt)], [])
    assert len(found.misfits) == problems


@pytest.mark.parametrize(
    ("change", "kind", "cause"),
    [
        ({"end": End.BROKEN}, Act.QUEUE_KILLED, "connection broken: queue killed"),
        ({"end": End.BROKEN}, Act.QUEUE_ROLLED, None),
        ({"end": End.BROKEN}, Act.WORKER_KILLED, None),
        ({"end": End.REFUSED}, Act.QUEUE_KILLED, "no connection: queue killed"),
        ({"end": End.REFUSED}, Act.QUEUE_ROLLED, None),
        ({"end": End.ERROR, "code": "draining"}, Act.QUEUE_ROLLED, "draining: queue rolled"),
        ({"end": End.ERROR, "code": "draining"}, Act.WORKER_KILLED, None),
        ({"end": End.ERROR, "code": "no_worker"}, Act.SCALED, None),
        ({"end": End.ERROR, "code": "too_many_attempts"}, Act.WORKER_KILLED, None),
        ({"end": End.BROKE_OFF, "code": "worker_lost", "continuable": True}, Act.WORKER_KILLED, None),
        ({"end": End.BROKE_OFF, "code": "response_broken_off", "continuable": True}, Act.ENGINE_KILLED, None),
        ({"end": End.HUNG}, Act.QUEUE_KILLED, None),
    ],
)
def test_only_what_the_design_allows_explains_a_failure(change, kind, cause):
    found = audit([replace(DONE, **change)], [], [act(kind)])
    assert (list(found.failures) == [cause]) if cause else len(found.unexplained) == 1


@pytest.mark.parametrize("code", ["worker_lost", "response_broken_off"])
def test_a_worker_or_engine_that_dies_explains_that_a_stream_broke_off_where_it_cannot_be_continued(code):
    asked = replace(DONE, end=End.BROKE_OFF, code=code)
    found = audit([asked], [replace(ROW, outcome="partial")], [act(Act.ENGINE_KILLED)])
    assert found.problems() == []
    assert sum(found.failures.values()) == 1


def test_an_act_that_was_over_before_explains_nothing():
    found = audit([replace(DONE, end=End.REFUSED, request_id="")], [], [act(Act.QUEUE_KILLED, 5.0, 9.0)])
    assert len(found.unexplained) == 1


def test_what_no_worker_had_may_be_without_a_row_when_its_queue_is_killed():
    asked = replace(UNKNOWN, begun=False)
    found = audit([asked], [], [act(Act.QUEUE_KILLED)])
    assert found.problems() == []
    assert sum(found.without_row.values()) == 1
    assert audit([asked], [], [act(Act.QUEUE_KILLED, 5.0, 12.0)]).lost == [asked]


def test_what_a_worker_had_may_be_without_a_row_only_when_both_are_killed():
    asked = replace(UNKNOWN, begun=True)
    both = [act(Act.QUEUE_KILLED), act(Act.WORKER_KILLED, 10.6)]
    assert audit([asked], [], both).lost == []
    assert audit([asked], [], both[:1]).lost == [asked]
    assert audit([asked], [], both[1:]).lost == [asked]


def test_a_wrong_answer_is_found():
    asked = replace(DONE, wrong="another text")
    assert audit([asked], [ROW], []).wrong == [asked]
