"""Two real operators against a real API server that logs who wrote what."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.election.installation import LEASE_SECONDS, Installation, Operator, installation, model, until

MODELS = [f"m{number}" for number in range(6)]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    folder: Path = tmp_path_factory.mktemp("election")
    with installation(folder) as made:
        values = [f"operator.lease.seconds={LEASE_SECONDS}", f"operator.lease.renewSeconds={LEASE_SECONDS / 2:g}"]
        made.install("operator.webhook.enabled=false", *values)
        made.plane.apply(*map(model, MODELS))
        yield made


class Operators:
    """Starts operators and sees to their end."""

    def __init__(self, installed: Installation) -> None:
        self._installed = installed
        self.all: list[Operator] = []

    def start(self, name: str, **settings: str) -> Operator:
        self.all.append(Operator(self._installed, name, **settings))
        return self.all[-1]

    def pair(self, **settings: str) -> tuple[Operator, Operator]:
        """The one that leads, and the other one, which is ready."""
        first = self.start("a", **settings)
        until("the first leads", first.leading)
        second = self.start("b", **settings)
        until("the second is ready", second.ready)
        return first, second


@pytest.fixture
def operators(installed: Installation) -> Iterator[Operators]:
    made = Operators(installed)
    try:
        yield made
        for operator in made.all:
            assert "Traceback" not in operator.log.read_text()
    finally:
        for operator in made.all:
            operator.end()
