"""Which fields of a request make an engine use an adapter, or none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

OFF = 1e-30
"""A scale of nothing. With 0, llama.cpp would not notice that a slot's cached prompt is another adapter's."""


@dataclass
class Routes:
    """An engine's model and adapters, by the names that requests have."""

    model: str
    base: Mapping[str, Any] = field(default_factory=dict)
    """Fields of requests for the model itself, beside its name."""
    adapters: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """Fields of requests for an adapter, by its whole name (`<model>:<adapter>`)."""
    takes_adapters: bool = False
    """Whether there may be adapters: then a name like an adapter's that is none is wrong, not the model's."""

    def fields(self, asked: Any) -> Mapping[str, Any] | None:
        """What to put into a request that asks for this name; None where it is an adapter's that is not served."""
        if isinstance(asked, str) and asked.startswith(f"{self.model}:") and self.takes_adapters:
            return self.adapters.get(asked)
        return self.base


def routes(model: str, *, takes_adapters: bool, started_with: Sequence[str], dialect: object | None) -> Routes:
    """The routes of an engine that has just been started; `dialect` is None where it is told in each request."""
    base = {"lora": [{"id": 0, "scale": OFF}]} if started_with and dialect is None else {}
    return Routes(model, base, takes_adapters=takes_adapters)


def whole_name(model: str, adapter: str) -> str:
    """The name by which clients ask for an adapter."""
    return f"{model}:{adapter}"
