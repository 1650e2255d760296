"""What an import gives: a spec, and all that has no place in it."""

from dataclasses import dataclass

from headrace_api.inference_model import InferenceModelSpec


@dataclass(frozen=True)
class LeftOut:
    """A key of the document that the spec does not carry."""

    key: str
    """The key in the document's own names, dotted: `queue.token`."""
    reason: str
    """Why it has no place, and what to do instead."""


@dataclass(frozen=True)
class Imported:
    """A document as a spec."""

    spec: InferenceModelSpec
    left_out: tuple[LeftOut, ...] = ()
