"""The table of models that the cluster tests apply, held against the rules alone: quick, where no cluster is."""

from pathlib import Path

import pytest
import yaml

from headrace_api.rules.document import check_model
from headrace_api.rules.finding import Facts

TABLE = Path(__file__).resolve().parents[1] / "cluster" / "models"


def table(name):
    return yaml.safe_load((TABLE / f"{name}.yaml").read_text())


def findings(name, case):
    manifest = {"metadata": {"name": case.get("name", name)}}
    facts = Facts(accelerators={})  # the cluster's chart has no profiles
    return check_model({**manifest, "spec": case["spec"]} if "spec" in case else manifest, facts)


@pytest.mark.parametrize(("name", "case"), table("invalid").items())
def test_an_invalid_model_is_told_what_the_table_says(name, case):
    errors = [finding for finding in findings(name, case) if finding.severity == "error"]
    assert errors
    if case["refused"][0].startswith("unknown field"):  # the API server's words, which come before any rule's
        return
    said = "\n".join(finding.text for finding in errors)
    for words in case["refused"]:
        assert words in said
    assert {words.split(":")[0] for words in case["refused"] if words.startswith("HR")} == {one.code for one in errors}


@pytest.mark.parametrize(("name", "case"), table("valid").items())
def test_a_valid_model_has_the_warnings_of_the_table_and_no_others(name, case):
    found = findings(name, case)
    assert [finding for finding in found if finding.severity == "error"] == []
    texts = [finding.text for finding in found]
    warns = case.get("warns", [])
    assert len(texts) == len(warns)
    for text, words in zip(texts, warns, strict=True):
        assert text.startswith(words)
