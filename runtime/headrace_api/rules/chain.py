"""The chain: every rule, in the order in which findings are told."""

from headrace_api.inference_model import InferenceModelSpec
from headrace_api.rules import arguments, chats, effect, memory, placement, queue, scaling, sources
from headrace_api.rules.finding import Facts, Finding, Rule

CHAIN: tuple[Rule, ...] = (
    *placement.RULES,
    *scaling.RULES,
    *arguments.RULES,
    *sources.RULES,
    *chats.RULES,
    *memory.RULES,
    *queue.RULES,
    *effect.RULES,
)
"""All rules."""


def check(spec: InferenceModelSpec, facts: Facts | None = None) -> list[Finding]:
    """All that the rules find in a spec whose fields each have an accepted shape."""
    known = facts or Facts()
    return [finding for rule in CHAIN for finding in rule.check(spec, known)]
