"""A model with thousands of mistakes is refused quickly: the operator checks it too, and has others to look after."""

import json
import time

import pytest

from headrace_api.engine_arguments import argument
from headrace_api.rules.document import check_model
from headrace_api.rules.manifest import MAX_SPEC_BYTES

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


def codes(spec):
    return [one.code for one in check_model({"metadata": {"name": "x"}, "spec": spec})]


@pytest.mark.parametrize("letter", ["x", "\n", "é"])
def test_a_spec_has_a_largest_size(letter):
    def spec(template):
        return {"engine": {**ENGINE, "engineKwargs": {"chat_template": template, "lora_modules": None, "seed": 7}}}

    def size(value):
        return len(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode())

    each = size(letter) - 2
    most = spec(letter * ((MAX_SPEC_BYTES - size(spec(""))) // each))
    assert MAX_SPEC_BYTES - each < size(most) <= MAX_SPEC_BYTES
    assert codes(most) == []
    more = most["engine"]["engineKwargs"]["chat_template"] + letter
    assert codes(spec(more)) == ["HR008"]


def test_aliases_that_repeat_a_part_count_each_time():
    part = ["x"] * 100
    for _ in range(20):
        part = [part] * 100
    assert codes({"engine": {**ENGINE, "engineKwargs": {"lora_modules": part}}}) == ["HR008"]


def test_an_argument_is_read_only_as_its_kind(monkeypatch):
    def fail(*_):
        raise AssertionError("read as JSON")

    monkeypatch.setattr(argument, "_parses", fail)
    assert codes({"engine": {**ENGINE, "engineKwargs": {"lora_modules": ["{}"] * 9}}}) == []


def test_json_in_a_text_may_be_nested_too_deeply():
    assert codes({"engine": {**ENGINE, "engineKwargs": {"compilation_config": "[" * 100_000}}}) == ["HR303"]
