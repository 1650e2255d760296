"""The root cause in words: why a model's workers are not ready, told from a table of rules. Pure."""

from headrace_operator.root_cause.evidence import lost
from headrace_operator.root_cause.find import cause
from headrace_operator.root_cause.rule import Rule
from headrace_operator.root_cause.table import RULES

__all__ = ["RULES", "Rule", "cause", "lost"]
