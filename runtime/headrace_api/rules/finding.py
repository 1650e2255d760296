"""What a rule says: a code that never changes, where, what is wrong and what to do."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from headrace_api.accelerators import AcceleratorProfile, choose
from headrace_api.inference_model import InferenceModelSpec

Severity = Literal["error", "warning"]
Path = tuple[str | int, ...]
"""Keys and list positions from the manifest's root, in the manifest's own names: `("spec", "engine", "type")`."""


@dataclass(frozen=True)
class Finding:
    """One thing that a rule found."""

    code: str
    """`HR` and three digits; never used for anything else again."""
    severity: Severity
    path: Path
    message: str
    """What is wrong, with the value."""
    hint: str
    """What to write instead."""

    @property
    def field(self) -> str:
        """The path as people write it: `spec.engine.engineKwargs.max_num_seqs`, `spec.queue.tags[0]`."""
        text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.path)
        return text.removeprefix(".")

    @property
    def text(self) -> str:
        """The whole finding in one line: code, field, message and hint."""
        return f"{self.code}: {self.field}: {self.message}; {self.hint}"


def at(dotted: str, *more: str | int) -> Path:
    """The path of a field of the spec: `at("queue.tags", 0)`."""
    return ("spec", *dotted.split("."), *more)


@dataclass(frozen=True)
class Facts:
    """What is known beside the spec; what is not known is not checked."""

    gpus_per_node: Mapping[str, int] = field(default_factory=dict)
    """GPUs of each node, by the node's name; empty: not known."""
    gpu_memory_gib: float | None = None
    """Memory of one GPU, whatever a profile says."""
    model_config: Mapping[str, Any] | None = None
    """The model's Hugging Face `config.json`."""
    accelerators: Mapping[str, AcceleratorProfile] | None = None
    """The installation's profiles; None: not known, empty: it has none."""
    default_accelerator: str | None = None
    """The profile of models that name none."""

    def profile(self, spec: InferenceModelSpec) -> AcceleratorProfile | None:
        """The accelerator that the model's pods get; None where it is not known."""
        return choose(spec, self.accelerators or {}, self.default_accelerator)

    def gpu_memory(self, spec: InferenceModelSpec) -> float | None:
        """Memory of one of the model's GPUs, in GiB."""
        if self.gpu_memory_gib is not None:
            return self.gpu_memory_gib
        profile = self.profile(spec)
        return profile.memory_gib if profile else None

    def largest_node(self, spec: InferenceModelSpec) -> int | None:
        """GPUs of the largest node that the model's pods may go to."""
        profile = self.profile(spec)
        if profile and profile.gpus_per_node is not None:
            return profile.gpus_per_node
        return max(self.gpus_per_node.values(), default=None)


@dataclass(frozen=True)
class Rule:
    """A rule, for the chain and for the generated documentation."""

    code: str
    severity: Severity
    summary: str
    """What the rule wants, as one sentence."""
    check: Callable[[InferenceModelSpec, Facts], Iterable[Finding]]
    cel: tuple[str, str] | None = None
    """The class of the spec that the API server checks it on, and the CEL expression that holds when all is well."""
