"""Each property of the CRD set to valid, odd and invalid values and back."""

import os

import pytest

from tests.faults import walk
from tests.faults.lane import Lanes

pytestmark = pytest.mark.cluster

_STEP = 1 if os.environ.get("HEADRACE_FAULTS") == "all" else 3
"""Every third trial: of each property some."""


async def test_the_cluster_follows_every_property_and_comes_back(lanes: Lanes) -> None:
    chosen = walk.all_trials()[::_STEP]
    async with lanes.open("walk") as lane:
        findings = await walk.walk(lane, chosen)
    assert not findings.wrong, "\n\n".join(findings.wrong)
    assert findings.converged + findings.refused_by_schema + findings.refused_by_operator == len(chosen)
    assert min(findings.converged, findings.refused_by_schema, findings.refused_by_operator) > 0
