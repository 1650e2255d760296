"""Strategic merge, as far as a pod template needs it."""

from typing import Any

_MERGE_KEYS: dict[str, str] = {
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "volumes": "name",
    "imagePullSecrets": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
}
"""Lists whose elements are matched by a key; from the Kubernetes API's `patchMergeKey` of each field."""

_ADDED = frozenset({"tolerations"})
"""Lists to which a patch adds: replacing them would drop the operator's own tolerations."""


def strategic_merge(base: Any, patch: Any, field: str = "") -> Any:
    """Return `base` changed by `patch`: maps merge, keyed lists merge by key, null deletes, all else replaces."""
    if isinstance(base, dict) and isinstance(patch, dict):
        return _merge_maps(base, patch)
    if isinstance(base, list) and isinstance(patch, list):
        if field in _ADDED:
            return base + [item for item in patch if item not in base]
        if key := _MERGE_KEYS.get(field):
            return _merge_keyed(base, patch, key)
    return patch


def _merge_maps(base: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = strategic_merge(base[name], value, name) if name in base else value
    return merged


def _merge_keyed(base: list[Any], patch: list[Any], key: str) -> list[Any]:
    merged = list(base)
    for item in patch:
        at = _find(merged, key, item)
        if at is None:
            merged.append(item)
        else:
            merged[at] = strategic_merge(merged[at], item)
    return merged


def _find(items: list[Any], key: str, wanted: Any) -> int | None:
    """The place of the element with the same key; None for what has no key: the API server says what is wrong."""
    if not isinstance(wanted, dict) or key not in wanted:
        return None
    places = (at for at, item in enumerate(items) if isinstance(item, dict) and item.get(key) == wanted[key])
    return next(places, None)
