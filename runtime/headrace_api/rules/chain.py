"""The chain: every rule, in the order in which findings are told."""

from headrace_api.inference_model import InferenceModelSpec
from headrace_api.rules import (
    accelerators,
    adapters,
    arguments,
    chats,
    effect,
    memory,
    one_pod,
    placement,
    queue,
    refused,
    rollout,
    scaling,
    sources,
    template,
)
from headrace_api.rules.finding import Facts, Finding, Rule

CHAIN: tuple[Rule, ...] = (
    *template.RULES,
    *placement.RULES,
    *one_pod.RULES,
    *accelerators.RULES,
    *scaling.RULES,
    *arguments.RULES,
    *sources.RULES,
    *chats.RULES,
    *refused.RULES,
    *adapters.RULES,
    *memory.RULES,
    *queue.RULES,
    *rollout.RULES,
    *effect.RULES,
)
"""All rules."""

MOST_ERRORS = 50
"""Errors that are told of one model."""


def check(spec: InferenceModelSpec, facts: Facts | None = None) -> list[Finding]:
    """What the rules find in a spec whose fields each have an accepted shape.

    It ends with the error number `MOST_ERRORS`: whoever has more of them gains nothing from the rest, and a search for
    what was meant by each of 20,000 arguments would keep the operator from its other models for minutes.
    """
    known = facts or Facts()
    findings: list[Finding] = []
    errors = 0
    for rule in CHAIN:
        for finding in rule.check(spec, known):
            findings.append(finding)
            errors += finding.severity == "error"
            if errors == MOST_ERRORS:
                return findings
    return findings
