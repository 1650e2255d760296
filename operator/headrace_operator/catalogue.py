"""What the queue is told of the models that there are. Pure."""

from collections.abc import Mapping
from typing import Any

from headrace_api.load import Catalogue, ModelState

Object = dict[str, Any]


def catalogue(models: Mapping[str, Object], adapters: Mapping[str, str]) -> Catalogue:
    """The names, and how their models are.

    Args:
        models: the live InferenceModels, by name on the queue.
        adapters: the name of its model on the queue, by that of the adapter.
    """
    states = {name: state for name, model in models.items() if (state := _state(model))}
    states |= {name: states[owner] for name, owner in adapters.items() if owner in states}
    return Catalogue(models=sorted(models.keys() | adapters.keys()), states=states)


def _state(model: Object) -> ModelState | None:
    """The condition `Ready`; None while nobody has looked at the model."""
    for condition in (model.get("status") or {}).get("conditions") or []:
        if condition.get("type") == "Ready":
            ready = condition.get("status") == "True"
            return ModelState(ready=ready, reason=condition.get("reason", ""), message=condition.get("message", ""))
    return None
