"""The CEL of the CRD against the rules in Python: it refuses nothing that they let pass, and what it is there for."""

import copy
import importlib.util
from pathlib import Path

import cel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace_api.crd import ONE_WRITER_RULE, custom_resource_definition
from headrace_api.rules.chain import CHAIN
from headrace_api.rules.document import check_model

_SPEC = importlib.util.spec_from_file_location("rule_examples", Path(__file__).with_name("rule_examples.py"))
examples = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(examples)

ROOT = custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
IN_CEL = {rule.code for rule in CHAIN if rule.cel}


def stored(value, schema):
    """A value as the API server hands it to CEL: defaults filled in, nulls dropped, numbers of the schema's type."""
    if schema.get("type") == "object" and "properties" in schema:
        kept = {key: item for key, item in value.items() if item is not None}
        filled = {
            key: copy.deepcopy(field["default"]) for key, field in schema["properties"].items() if "default" in field
        }
        return {key: stored(item, schema["properties"].get(key, {})) for key, item in {**filled, **kept}.items()}
    if schema.get("type") == "array" and isinstance(value, list):
        return [stored(item, schema.get("items", {})) for item in value]
    return float(value) if schema.get("type") == "number" else value


def broken(value, schema):
    """Codes of the CEL rules that do not hold at this place or below, for a new object."""
    for rule in schema.get("x-kubernetes-validations", ()):
        if "oldSelf" not in rule["rule"] and not cel.evaluate(rule["rule"], {"self": value}):
            yield rule["message"].split(":")[0]
    if schema.get("type") == "object":
        for key, item in value.items():
            yield from broken(item, schema.get("properties", {}).get(key, {}))
    elif schema.get("type") == "array":
        for item in value:
            yield from broken(item, schema.get("items", {}))


def in_cel(spec, name="m"):
    manifest = {"metadata": {"name": name}, "spec": spec}
    return set(broken(stored(manifest, ROOT), ROOT))


def in_python(spec, name="m"):
    return {one.code for one in check_model({"metadata": {"name": name}, "spec": spec})}


SCALES = {"autoscaling": {"minReplicas": 1, "maxReplicas": 4}}


@pytest.mark.parametrize(
    ("old", "new", "holds"),
    [
        ({"replicas": 1, "deployment": SCALES}, {"replicas": 2, "deployment": SCALES}, False),
        ({"replicas": 3, "deployment": SCALES}, {"replicas": 0, "deployment": SCALES}, False),
        ({"replicas": 3, "deployment": SCALES}, {"replicas": 1, "deployment": SCALES}, True),  # left out again
        ({"replicas": 3, "deployment": SCALES}, {"replicas": 3, "deployment": SCALES}, True),
        ({"replicas": 3, "deployment": SCALES}, {"replicas": 2, "deployment": {}}, True),
        ({"replicas": 3, "deployment": {}}, {"replicas": 2, "deployment": SCALES}, True),
        ({"replicas": 3}, {"replicas": 2}, True),
    ],
)
def test_where_autoscaling_decides_nobody_else_sets_replicas(old, new, holds):
    assert cel.evaluate(ONE_WRITER_RULE["rule"], {"self": new, "oldSelf": old}) is holds


ALL = [spec for bad, good in examples.EXAMPLES.values() for spec in (*bad, *good)]


@pytest.mark.parametrize("code", sorted(IN_CEL))
def test_cel_refuses_a_bad_example_and_no_good_one(code):
    bad, good = examples.EXAMPLES[code]
    assert any(code in in_cel(spec) for spec in bad)
    assert not any(code in in_cel(spec) for spec in good)


@pytest.mark.parametrize("spec", ALL)
def test_cel_refuses_nothing_that_the_rules_let_pass(spec):
    assert in_cel(spec) <= in_python(spec)


@pytest.mark.parametrize("name", ["a", "a" * 63, "a" * 64, "A", "a.b", "-a", "a-", "0"])
def test_names(name):
    assert ("HR004" in in_cel(examples.s(), name)) == ("HR004" in in_python(examples.s(), name))


def merged(specs):
    """Several specs as one; the later one's fields count."""
    out = {}
    for spec in specs:
        for key, value in spec.items():
            old = out.get(key)
            out[key] = merged([old, value]) if isinstance(value, dict) and isinstance(old, dict) else value
    return out


PARTIAL = {"HR407", "HR411", "HR412", "HR422"}
"""CEL says less than these rules."""


@pytest.mark.slow
@settings(max_examples=300)
@given(st.lists(st.sampled_from(ALL), min_size=1, max_size=4))
def test_cel_and_the_rules_agree_on_mixtures(specs):
    spec = merged(specs)
    python = in_python(spec)
    if not {"HR001", "HR002", "HR003"} & python:
        assert in_cel(spec) <= python
        assert in_cel(spec) - PARTIAL == (python & IN_CEL) - PARTIAL
