"""Which revisions' ConfigMaps are still needed: a pod whose ConfigMap is gone cannot start its container again."""

from collections.abc import Iterable

from headrace_api import names
from headrace_operator.observed import Object, Observed


def needed(observed: Observed) -> frozenset[str]:
    """The names of the ConfigMaps that the live workload or any pod mounts."""
    model = observed.model["metadata"]["name"]
    workloads = (child for child in observed.children if child["kind"] == "Deployment")
    return frozenset(_mounted(model, [*workloads, *observed.pods]))


def _mounted(model: str, items: Iterable[Object]) -> Iterable[str]:
    for item in items:
        revision = (item["metadata"].get("annotations") or {}).get(names.ANNOTATION_REVISION)
        # before there were revisions, all pods of a model mounted the one ConfigMap of its name
        yield f"{model}-{revision}" if revision else model
