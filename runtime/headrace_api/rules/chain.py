"""The chain: every rule, in the order in which findings are told."""

from headrace_api.inference_model import InferenceModelSpec
from headrace_api.rules import arguments, placement, sources
from headrace_api.rules.finding import Facts, Finding, Rule

CHAIN: tuple[Rule, ...] = (*placement.RULES, *arguments.RULES, *sources.RULES)
"""All rules."""


def check(spec: InferenceModelSpec, facts: Facts | None = None) -> list[Finding]:
    """All that the rules find in a spec whose fields each have an accepted shape."""
    known = facts or Facts()
    return [finding for rule in CHAIN for finding in rule.check(spec, known)]
