"""What a rule is: one reason why workers are not ready, how it is recognised, and what to do about it."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from headrace_operator.observed import Problem
from headrace_operator.root_cause.evidence import Evidence

Lasting = Literal["passes", "comes again", "stays"]
"""Whether the cause may pass by itself, stays once the worker has ended of it again and again, or stays at once."""

Group = Literal["nodes", "the API server", "images", "containers", "the engine", "the queue", "scheduling", "time"]

_CRASHES = 2
"""After so many restarts a cause counts as one that comes again."""
_LONGEST = 600
"""Characters of what others said that go into a message."""


@dataclass(frozen=True)
class Rule:
    """One reason. The table's order is that of gravity: the first rule that finds something wins."""

    reason: str
    """Stable: scripts and alerts may rely on it."""
    group: Group
    """Where the documentation lists it."""
    meaning: str
    hint: str
    """What to do, in the imperative, without a full stop."""
    find: Callable[[Evidence], str | None]
    """The message with the facts, or None when the rule does not apply."""
    lasting: Lasting = "stays"
    fallback: bool = False
    """Whether it only says that something is wrong, where no other rule of its group knows what."""

    def problem(self, evidence: Evidence) -> Problem | None:
        """The rule's problem, if the evidence shows it."""
        message = self.find(evidence)
        if message is None:
            return None
        return Problem(self.reason, message, permanent=self._permanent(evidence), hint=self.hint)

    def _permanent(self, evidence: Evidence) -> bool:
        again = evidence.ended is not None and evidence.ended.restarts >= _CRASHES
        return self.lasting == "stays" or (self.lasting == "comes again" and again)


def line_of(pattern: re.Pattern[str], text: str) -> str | None:
    """The line of `text` in which the pattern is found, cut to a bearable length; None when it is nowhere."""
    found = pattern.search(text)
    if found is None:
        return None
    start, end = text.rfind("\n", 0, found.start()) + 1, text.find("\n", found.end())
    return shorten(text[start : end if end >= 0 else len(text)])


def shorten(text: str) -> str:
    """One line, at most as long as a message can bear."""
    flat = " ".join(text.split())
    return flat if len(flat) <= _LONGEST else f"{flat[: _LONGEST - 1]}…"
