"""What the operator has seen of one model, as plain data: the input of every decision."""

from dataclasses import dataclass, field
from typing import Any

from headrace_api.load import ModelLoad

Object = dict[str, Any]
Key = tuple[str, str]
"""Namespace and name of an InferenceModel."""


@dataclass(frozen=True)
class Observed:
    """One model and all that belongs to it."""

    model: Object
    children: tuple[Object, ...] = ()
    """Objects whose controller is an InferenceModel of this name: ConfigMaps and Deployments."""
    pods: tuple[Object, ...] = ()
    load: ModelLoad | None = None
    """None when the queue has not said anything of the model."""


@dataclass(frozen=True)
class Problem:
    """Why the model cannot be brought to what the spec asks for."""

    reason: str
    message: str
    permanent: bool = True
    """Whether somebody has to change something; else it may pass by itself."""


@dataclass(frozen=True)
class Plan:
    """What to write."""

    apply: tuple[Object, ...] = ()
    delete: tuple[Object, ...] = ()
    problem: Problem | None = field(default=None)
    """Set when the spec cannot be rendered; then nothing is written and what runs is left running."""
