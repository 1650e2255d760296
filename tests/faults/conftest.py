"""One private control plane with controllers, scheduler and fake nodes for all tests of faults."""

from collections.abc import Iterator

import pytest

from tests.faults.lane import Lanes
from tests.faults.setup import lanes_on_a_plane


@pytest.fixture(scope="session")
def lanes() -> Iterator[Lanes]:
    """Where to get lanes from."""
    with lanes_on_a_plane() as found:
        yield found
