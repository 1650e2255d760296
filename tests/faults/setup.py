"""Brings up what all tests of faults run on."""

import contextlib
from collections.abc import Iterator

from tests import plane as planes
from tests.faults.lane import Lanes
from tests.faults.operator_process import Zygote

_NODES = 6


@contextlib.contextmanager
def lanes_on_a_plane() -> Iterator[Lanes]:
    """A control plane with controllers, scheduler and fake nodes, and a zygote of operators."""
    with planes.running(controllers=True, scheduler=True) as plane:
        plane.start_fake_nodes(planes.fake_nodes(_NODES))
        zygote = Zygote(plane.folder)
        try:
            yield Lanes(plane, zygote, plane.tokens["admin"])
        finally:
            zygote.close()
