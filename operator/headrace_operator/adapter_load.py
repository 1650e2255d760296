"""Adapters have names of their own on the queue; what they have to do is their model's load. Pure.

A request for an adapter is work for the model's workers: it has to wake a model that is scaled to zero, and to count
where workers are added or taken away.
"""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from headrace_api.load import ModelLoad

Object = dict[str, Any]


def names(model: Object, name: str) -> list[str]:
    """What clients ask for to have the model's adapters, by a spec that need not be valid.

    Args:
        model: the live InferenceModel.
        name: that of the model itself on the queue.
    """
    engine = (model.get("spec") or {}).get("engine") or {}
    adapters = [one["name"] for one in engine.get("adapters") or [] if isinstance(one, dict) and one.get("name")]
    further = [PurePosixPath(str(one)).name for one in (engine.get("weightSetDirectories") or [])[1:]]
    return sorted({f"{name}:{one}" for one in (*adapters, *further) if one}) if name else []


def added(load: Mapping[str, ModelLoad], owners: Mapping[str, str]) -> dict[str, ModelLoad]:
    """The load with that of adapters in their models'.

    Which requests a worker has is told of all its names together, and whoever serves an adapter serves its model.

    Args:
        load: by name on the queue.
        owners: the model's name, by that of the adapter.
    """
    found = dict(load)
    for name, owner in owners.items():
        more, own = load.get(name), found.get(owner)
        if more and own:
            update = {key: getattr(own, key) + getattr(more, key) for key in ("queued", "running", "taken")}
            found[owner] = own.model_copy(update=update)
    return found
