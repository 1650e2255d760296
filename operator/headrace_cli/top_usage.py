"""What a model uses: its row in `headrace top`. Pure."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

Object = dict[str, Any]

_TOKENS = re.compile(r"headrace_queue_tokens_total\{([^}]*)\} (\S+)")
_MODEL = re.compile(r'model="((?:[^"\\]|\\.)*)"')
_ACCELERATOR = re.compile(r"/.*(gpu|mig-|tpu|gaudi|neuron)")
"""In the name of an extended resource: nvidia.com/gpu, nvidia.com/mig-1g.5gb, amd.com/gpu, google.com/tpu."""
_ENDED = frozenset({"Succeeded", "Failed"})


@dataclass(frozen=True)
class Usage:
    """One model."""

    namespace: str
    name: str
    workers: str
    """Ready and desired, as 1/2."""
    queued: int
    running: int
    accelerators: int | None
    """None when it is not known."""
    tokens: float | None
    """Per second; None when it is not known."""

    @classmethod
    def of(cls, model: Object, held: Mapping[tuple[str, str], int] | None, rates: Mapping[str, float] | None) -> Self:
        """From the live model, the accelerators by its key, and the rates by the name that clients ask for."""
        metadata, status = model["metadata"], model.get("status") or {}
        key = metadata["namespace"], metadata["name"]
        return cls(
            *key,
            workers=status.get("workers") or "-",
            queued=status.get("queued") or 0,
            running=status.get("running") or 0,
            accelerators=None if held is None else held.get(key, 0),
            tokens=None if rates is None else rates.get(status.get("modelName") or "", 0.0),
        )

    def row(self) -> tuple[str, ...]:
        """As `headrace top` shows it."""
        tokens = "-" if self.tokens is None else f"{self.tokens:.1f}"
        held = "-" if self.accelerators is None else str(self.accelerators)
        return (self.namespace, self.name, self.workers, str(self.queued), str(self.running), held, tokens)


def accelerators(pod: Object) -> int:
    """How many accelerators a pod holds; none before it has a node, and none after its end."""
    spec = pod.get("spec") or {}
    if not spec.get("nodeName") or (pod.get("status") or {}).get("phase") in _ENDED:
        return 0
    limits = [(container.get("resources") or {}).get("limits") or {} for container in spec.get("containers", [])]
    return sum(int(count) for one in limits for name, count in one.items() if _ACCELERATOR.search(name))


def tokens(metrics: str) -> dict[str, float]:
    """Tokens of all kinds so far, by model, from what a queue shows to Prometheus."""
    found: dict[str, float] = defaultdict(float)
    for labels, value in _TOKENS.findall(metrics):
        if model := _MODEL.search(labels):
            found[_unescaped(model[1])] += float(value)
    return dict(found)


def token_rates(
    before: Sequence[Mapping[str, float]], after: Sequence[Mapping[str, float]], seconds: float
) -> dict[str, float]:
    """Tokens per second by model, over all queues; one that was started anew in between counts from zero."""
    rates: dict[str, float] = defaultdict(float)
    for old, new in zip(before, after, strict=True):
        for model, count in new.items():
            grown = count - old.get(model, 0.0)
            rates[model] += (grown if grown >= 0 else count) / seconds
    return dict(rates)


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", lambda found: "\n" if found[1] == "n" else found[1], text)
