"""A short soak, and that a seed tells one story."""

from itertools import islice

import pytest

from tests.faults.lane import CONFIG, Lanes
from tests.faults.oracle import is_valid
from tests.faults.soak import Soak
from tests.faults.story import SPOILT, Story


def test_a_seed_tells_one_story() -> None:
    one, again, other = (list(islice(Story(seed).actions(), 500)) for seed in (1, 1, 2))
    assert one == again
    assert one != other
    assert {action.verb for action in one} >= {"create", "spoil", "delete child", "kill", "trouble", "stale"}


def test_a_spoilt_spec_cannot_be_rendered() -> None:
    model = {"metadata": {"name": "m", "namespace": "n", "uid": "u"}, "spec": {"engine": SPOILT}}
    assert not is_valid(model, CONFIG)


@pytest.mark.cluster
async def test_a_fleet_under_random_faults_is_what_the_specs_say(lanes: Lanes) -> None:
    async with lanes.open("soak") as lane:
        soak = Soak(lane, lanes.plane)
        await soak.run(seconds=60, seed=5, restarts=1)
        assert lane.operator.starts > 1
    assert soak.done["API server restarted"] == 1
    assert soak.done["compared"] >= 1
