"""Which revisions' ConfigMaps are still needed: a pod whose ConfigMap is gone cannot start its container again."""

from collections.abc import Iterable

from headrace_api import names
from headrace_operator.observed import Object, Observed


def needed(observed: Observed, ready_revision: str | None = None) -> frozenset[str]:
    """The names of the ConfigMaps that the live workload or any pod mounts, and that of the revision to go back to."""
    model = observed.model["metadata"]["name"]
    templates = (child["spec"]["template"] for child in observed.children if child["kind"] == "Deployment")
    ready = {f"{model}-{ready_revision}"} if ready_revision else set()
    return frozenset({*_mounted(model, [*templates, *observed.pods]), *ready})


def _mounted(model: str, items: Iterable[Object]) -> Iterable[str]:
    for item in items:
        revision = (item.get("metadata", {}).get("annotations") or {}).get(names.ANNOTATION_REVISION)
        # before there were revisions, all pods of a model mounted the one ConfigMap of its name
        yield f"{model}-{revision}" if revision else model
