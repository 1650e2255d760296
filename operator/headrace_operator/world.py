"""What the operator has seen, from kopf's indices and the queue: read at the moment of each reconcile."""

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from headrace_api import inference_model as api
from headrace_api import names
from headrace_api.load import ModelLoad
from headrace_operator.observed import Key, Object, Observed

Index = Mapping[Key, Iterable[Object]]


class SeenWorld:
    """Answers `observe` from indices of models, their children and their pods, each by the model's key."""

    def __init__(self) -> None:
        self._indices: Mapping[str, Index] = {}
        self._load: Mapping[str, ModelLoad] = {}
        self._buried: frozenset[str] = frozenset()

    def bind(self, indices: Mapping[str, Index]) -> None:
        """Take kopf's live indices: `models`, `config_maps`, `deployments`, `pods`."""
        self._indices = indices

    def models(self) -> list[Object]:
        """Every model."""
        return [model for model in self._all("models") if model["metadata"]["uid"] not in self._buried]

    def uids(self) -> set[str]:
        """The uids of all objects that the indices hold."""
        return {item["metadata"]["uid"] for name in self._indices for item in self._all(name)}

    def bury(self, uids: set[str]) -> None:
        """These objects do not exist any more, whatever the indices say.

        kopf takes an object out of its indices when it sees the deletion. A deletion that falls between a watch that
        broke off and the list that follows is never seen.
        """
        self._buried = frozenset(uids)

    def set_load(self, load: Mapping[str, ModelLoad]) -> None:
        """Take the queue's newest numbers, by model name."""
        self._load = load

    def generation(self, key: Key) -> int | None:
        """The model's generation; None when there is no such model."""
        found = max(self._indices.get("models", {}).get(key, ()), key=_age, default=None)
        return found["metadata"].get("generation") if found else None

    def observe(self, key: Key) -> Observed | None:
        """The model and all that belongs to it; None when there is no such model."""
        found = self._of("models", key)
        if not found:
            return None
        model = found[0]
        return Observed(
            model=model,
            children=(*self._of("config_maps", key), *self._of("deployments", key)),
            pods=tuple(sorted(self._of("pods", key), key=lambda pod: str(pod["metadata"]["name"]))),
            load=self._load.get(model_name(model)),
        )

    def _of(self, index: str, key: Key) -> tuple[Object, ...]:
        newest: dict[str, Object] = {}
        for item in sorted(self._indices.get(index, {}).get(key, ()), key=_age):
            if item["metadata"]["uid"] not in self._buried:
                newest[item["metadata"]["name"]] = item
        return tuple(copy.deepcopy(dict(item)) for item in newest.values())

    def _all(self, index: str) -> list[Object]:
        return [item for items in list(self._indices.get(index, {}).values()) for item in items]


def _age(item: Object) -> tuple[str, int]:
    """Order objects of one name: kopf may tell of a new object before it tells that its predecessor is gone."""
    return str(item["metadata"]["creationTimestamp"]), int(item["metadata"]["resourceVersion"])


def key_of(item: Object) -> Key:
    """Namespace and name."""
    return item["metadata"]["namespace"], item["metadata"]["name"]


def owner_key(item: Object) -> Key | None:
    """The model that controls `item`, by its owner reference."""
    metadata: dict[str, Any] = item["metadata"]
    for owner in metadata.get("ownerReferences", []):
        group = owner["apiVersion"].split("/")[0]
        if owner.get("controller") and owner["kind"] == api.KIND and group == api.GROUP:
            return metadata["namespace"], owner["name"]
    return None


def pod_key(item: Object) -> Key | None:
    """The model that a worker pod belongs to, by its labels."""
    labels = item["metadata"].get("labels", {})
    if labels.get(names.LABEL_MANAGED_BY) != names.MANAGED_BY or names.LABEL_MODEL not in labels:
        return None
    return item["metadata"]["namespace"], labels[names.LABEL_MODEL]


def model_name(model: Object) -> str:
    """The name that clients ask for, read from a spec that need not be valid; empty when there is none."""
    spec = model.get("spec") or {}
    return str((spec.get("queue") or {}).get("checkpointName") or (spec.get("engine") or {}).get("modelId") or "")
