"""The trials: that every property is tried, and that a value lands where it belongs."""

import pytest

from tests.faults import walk
from tests.faults.schema_values import Trial, applied

TRIALS = walk.all_trials()
BASE = {"engine": {"type": "LlamaCppEngine"}}


def _names(schema: dict, path: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    found = {path}
    for name, part in schema.get("properties", {}).items():
        found |= _names(part, (*path, name))
    return found - {()}


def test_every_property_has_a_value_that_is_refused_or_odd_and_null() -> None:
    tried = {tuple(step for step in trial.path if step != 0) for trial in TRIALS}
    assert tried >= _names(walk.SCHEMA)
    for path in {trial.path for trial in TRIALS}:
        kinds = [trial.kind for trial in TRIALS if trial.path == path]
        assert set(kinds) >= {"odd", "invalid"}, path
        assert any(trial.value is None for trial in TRIALS if trial.path == path)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("replicas",), 3),
        (("engine", "memory", "memorySafetyMargin"), 0.1),
        (("engine", "s3Mirror", "extraFiles", 0, "destinationPath"), "/x"),
    ],
)
def test_a_value_lands_at_its_place_and_what_it_needs_is_made(path, value) -> None:
    found = applied(BASE, walk.SCHEMA, Trial(path, "valid", value))
    assert found["engine"]["type"] == "LlamaCppEngine"
    for step in path:
        found = found[step]
    assert found == value


def test_no_trial_asks_for_thousands_of_pods() -> None:
    numbers = [trial.value for trial in TRIALS if trial.path[-1] == "replicas" and isinstance(trial.value, int)]
    # what does not fit into 32 bits is refused for the Deployment
    assert all(number <= 3 or number >= 2**31 for number in numbers)
