"""Which fields of a request make an engine use an adapter, or none."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

OFF = 1e-30
"""A scale of nothing. With 0, llama.cpp would not notice that a slot's cached prompt is another adapter's."""


@dataclass
class Routes:
    """An engine's model and adapters, by the names that requests have."""

    model: str
    base: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of requests for the model itself."""
    adapters: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """Fields of requests for an adapter, by its whole name (`<model>:<adapter>`)."""
    takes_adapters: bool = False
    """Whether there may be adapters: then a name like an adapter's that is none is wrong, not the model's."""

    def fields(self, asked: Any) -> Mapping[str, Any] | None:
        """What to put into a request that asks for this name; None where it is an adapter's that is not served."""
        if isinstance(asked, str) and asked.startswith(f"{self.model}:") and self.takes_adapters:
            return self.adapters.get(asked)
        return {"model": self.model, **self.base}


def whole_name(model: str, adapter: str) -> str:
    """The name by which clients ask for an adapter."""
    return f"{model}:{adapter}"
