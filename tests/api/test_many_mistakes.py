"""A model with thousands of mistakes is refused quickly: the operator checks it too, and has others to look after."""

import time

import pytest

from headrace_api.rules.document import check_model

MANY = 20_000
ENGINE = {"type": "VLLMEngine", "modelId": "a"}


@pytest.mark.parametrize(
    "spec",
    [
        {"engine": {**ENGINE, "engineKwargs": {f"max_num_seq{at}": 1 for at in range(MANY)}}},
        {"engine": ENGINE, **{f"engin{at}": 1 for at in range(MANY)}},
        {"engine": {**ENGINE, "generation": {"stoppingSequences": [{}] * MANY}}},
    ],
)
def test_thousands_of_mistakes_do_not_take_minutes(spec):
    began = time.monotonic()
    findings = check_model({"metadata": {"name": "x"}, "spec": spec})
    assert findings[0].severity == "error"
    assert len(findings) <= 200
    assert time.monotonic() - began < 20  # a second or two at rest
