"""Every rule of the chain: its code, its examples, its CEL."""

import importlib.util
import re
from pathlib import Path

import pytest

from headrace_api.rules.chain import CHAIN
from headrace_api.rules.document import check_model
from headrace_api.rules.finding import Facts

_FILE = Path(__file__).with_name("rule_examples.py")
_SPEC = importlib.util.spec_from_file_location("rule_examples", _FILE)
examples = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(examples)

OTHERS = {"HR3", "HR424"}
"""Rules with tests of their own: engine arguments, and what headrace_api.prompts finds beyond these rules."""
RULES = {rule.code: rule for rule in CHAIN if rule.code not in OTHERS and rule.code[:3] not in OTHERS}


def codes(spec, code):
    facts = examples.FACTS.get(code, Facts())
    return {one.code: one for one in check_model({"metadata": {"name": "m"}, "spec": spec}, facts)}


def test_codes_are_unique_and_in_their_ranges():
    given = [rule.code for rule in CHAIN]
    assert len(given) == len(set(given))
    assert all(re.fullmatch(r"HR[0-7]\d\d|HR9\d\d", code) for code in given)
    assert all(rule.severity == "warning" for rule in CHAIN if rule.code >= "HR900")
    assert not {"HR001", "HR002", "HR003", "HR004", "HR005", "HR008"} & set(given)


def test_every_rule_has_examples_of_both_kinds():
    assert set(examples.EXAMPLES) == set(RULES)
    assert all(bad and good for bad, good in examples.EXAMPLES.values())


@pytest.mark.parametrize(
    ("code", "spec"), [(code, bad) for code, (all_bad, _) in examples.EXAMPLES.items() for bad in all_bad]
)
def test_a_rule_finds_its_bad_examples(code, spec):
    finding = codes(spec, code).get(code)
    assert finding, codes(spec, code)
    assert finding.severity == RULES[code].severity
    assert finding.message
    assert finding.hint
    assert finding.field.startswith("spec.")
    own, *free_form = re.split(r"(?<=engineKwargs)|(?<=resourcesPerWorker)", finding.field.replace("env_vars", ""))
    assert "_" not in own, free_form


@pytest.mark.parametrize(
    ("code", "spec"), [(code, good) for code, (_, all_good) in examples.EXAMPLES.items() for good in all_good]
)
def test_a_rule_lets_its_good_examples_pass(code, spec):
    assert code not in codes(spec, code)


def test_no_token_goes_to_a_foreign_queue_and_the_warning_says_so():
    (finding,) = check_model({"metadata": {"name": "m"}, "spec": examples.s(queue={"url": "https://a.example.com"})})
    assert "the workers register at a.example.com without a token" in finding.text


def test_only_the_trailing_template_may_be_empty():
    for name, offered in (("user", False), ("trailingAssistant", True)):
        assert ("''" in codes(examples.chat(**{name: None}), "HR421")["HR421"].hint) is offered


def test_summaries_fit_into_the_api_servers_message():
    for rule in CHAIN:
        assert len(rule.summary) < 300
        assert "\n" not in rule.summary
