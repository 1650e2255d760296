"""What a ScaledObject's trigger asks for, and what its answers are. Pure."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from headrace_api.load import ModelLoad

METRIC = "headrace-ongoing-requests"
_DEFAULT_TARGET = 10.0
_ACCEPTED = ("model", "target", "activationTarget", "scalerAddress")
"""KEDA hands its own `scalerAddress` on."""


@dataclass(frozen=True)
class Trigger:
    """The trigger's metadata."""

    model: str
    """As clients ask for it; its adapters' requests count, too."""
    target: float = _DEFAULT_TARGET
    """Requests, waiting or under way, that one worker shall have."""
    activation: float = 0.0
    """With more requests than this, a model at zero gets its first worker."""

    @classmethod
    def read(cls, metadata: Mapping[str, str]) -> "Trigger":
        """Read it.

        Raises:
            ValueError: a value is missing or cannot be used; the message names it and says what is accepted.
        """
        if unknown := sorted(set(metadata) - set(_ACCEPTED)):
            accepted = ", ".join(_ACCEPTED[:-1])
            raise ValueError(f"metadata.{unknown[0]}: no such setting; accepted: {accepted}")
        if not metadata.get("model"):
            raise ValueError("metadata.model: missing; accepted: the name that clients ask for")
        target = _number(metadata, "target", _DEFAULT_TARGET)
        if target <= 0:
            raise ValueError(f"metadata.target: {metadata['target']!r}; accepted: a number above 0")
        return cls(metadata["model"], target, _number(metadata, "activationTarget", 0.0))

    def ongoing(self, load: Mapping[str, ModelLoad]) -> int | None:
        """The model's requests, waiting and under way; None for a model that the queue does not know."""
        own = [one for name, one in load.items() if name == self.model or name.startswith(f"{self.model}:")]
        return sum(one.queued + one.running for one in own) if own else None


def _number(metadata: Mapping[str, str], name: str, default: float) -> float:
    text = metadata.get(name, "")
    try:
        found = float(text) if text else default
    except ValueError:
        found = math.nan
    if not math.isfinite(found) or found < 0:
        raise ValueError(f"metadata.{name}: {text!r}; accepted: a number of at least 0")
    return found
