"""The short forms of two proofs; the long ones are `tests.worker.kills` and `tests.worker.rolling`, run by hand."""

from pathlib import Path

import pytest

from tests.worker import kills, rolling

pytestmark = pytest.mark.engine


async def test_whatever_is_killed_every_request_ends_and_nothing_is_left_behind(tmp_path: Path) -> None:
    told = await kills.story(tmp_path, moments=5, seed=20, pause_s=0.3)
    assert sum(told.kills.values()) == 5
    assert told.bad() == []
    assert told.orphans == []
    assert told.half_visible == []
    assert told.left_over == []
    assert sum(answer.kind == "complete" for answer in told.answers) > 20, told.summary()


async def test_a_rolling_restart_is_not_noticed(tmp_path: Path) -> None:
    clients, restarts = await rolling.restart_for(tmp_path, 8)
    assert restarts >= 1
    assert [answer for answer in clients.answers if answer.kind != "complete"] == []
    assert len(clients.answers) > 20
