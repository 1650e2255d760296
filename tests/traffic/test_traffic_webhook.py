"""What the traffic driver's billing system finds wrong."""

import pytest

from tests.traffic.books import Row
from tests.traffic.webhook import Billing

ROW = Row("r1", "team", "m", "w", 3, 4, 10.0, "completed", "")
TOLD = {"request_id": "r1", "key": "team", "outcome": "completed", "completion_tokens": 4}


@pytest.mark.parametrize(
    ("told", "rows", "problems"),
    [
        ([TOLD], [ROW], 0),
        ([], [ROW], 1),
        ([TOLD], [], 1),
        ([{**TOLD, "outcome": "partial"}], [ROW], 1),
        ([{**TOLD, "completion_tokens": 5}], [ROW], 1),
        ([{**TOLD, "key": "other"}], [ROW], 1),
    ],
)
def test_what_was_told_must_be_what_the_ledger_has(told, rows, problems):
    billing = Billing(rows={one["request_id"]: one for one in told})
    assert len(billing.problems(rows)) == problems


def test_a_forged_message_is_a_problem():
    assert len(Billing(forged=2).problems([])) == 1
