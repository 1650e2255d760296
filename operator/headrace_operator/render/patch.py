"""Strategic merge of a pod template, as `kubectl patch --type=strategic` does it.

Which lists are merged, and by which key, is the Kubernetes API's own; a test reads it from a real API server. Three
things differ, on purpose. Tolerations are added to the operator's own, where Kubernetes would replace them. A volume
that gets another source loses the one that it had, where Kubernetes would keep both and then refuse them. New elements
come last, so that the worker stays the first container.
"""

from typing import Any

_MERGE_KEYS: dict[str, str] = {
    "containers": "name",
    "initContainers": "name",
    "ephemeralContainers": "name",
    "env": "name",
    "volumes": "name",
    "imagePullSecrets": "name",
    "resourceClaims": "name",
    "schedulingGates": "name",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
    "volumeDevices": "devicePath",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
    "ownerReferences": "uid",
}
"""Lists whose elements are matched by a key: the API's `patchMergeKey`. All other lists are replaced as a whole."""

_UNIONS = frozenset({"finalizers"})
"""Lists of plain values to which a patch adds."""

_DIRECTIVE = "$patch"
_RETAIN = "$retainKeys"


def strategic_merge(base: Any, patch: Any, field: str = "") -> Any:
    """Return `base` changed by `patch`: maps merge, keyed lists merge by key, null deletes, all else replaces.

    `$patch: delete` and `$patch: replace` are followed, and `$retainKeys`.
    """
    if isinstance(patch, dict):
        return _merge_maps(base if isinstance(base, dict) else {}, patch)
    if isinstance(patch, list):
        return _merge_lists(base if isinstance(base, list) else [], patch, field)
    return patch


def _merge_maps(base: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    directive = patch.get(_DIRECTIVE)
    if directive == "delete":
        return {}
    merged = {} if directive == "replace" else dict(base)
    if isinstance(retained := patch.get(_RETAIN), list):
        merged = {name: value for name, value in merged.items() if name in retained}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        elif name not in {_DIRECTIVE, _RETAIN}:
            merged[name] = strategic_merge(merged.get(name), value, name)
    return merged


def _merge_lists(base: list[Any], patch: list[Any], field: str) -> list[Any]:
    if {_DIRECTIVE: "replace"} in patch:
        return [item for item in patch if item != {_DIRECTIVE: "replace"}]
    if field == "tolerations":
        return _add_tolerations(base, patch)
    if field in _UNIONS:
        return base + [item for item in patch if item not in base]
    key = _MERGE_KEYS.get(field)
    return _merge_keyed(base, patch, key, field) if key else patch


def _add_tolerations(base: list[Any], patch: list[Any]) -> list[Any]:
    """The patch's tolerations in place of those that tolerate the same taint: else the shorter time would win."""
    taints = [_taint(item) for item in patch]
    return [item for item in base if _taint(item) not in taints] + patch


def _taint(toleration: Any) -> Any:
    if not isinstance(toleration, dict):
        return toleration
    return tuple(toleration.get(name) for name in ("key", "value", "effect"))


def _merge_keyed(base: list[Any], patch: list[Any], key: str, field: str) -> list[Any]:
    merged = list(base)
    for item in patch:
        at = _find(merged, key, item)
        if isinstance(item, dict) and item.get(_DIRECTIVE) == "delete":
            merged = [one for place, one in enumerate(merged) if place != at]
        elif at is None:
            merged.append(strategic_merge({}, item))
        else:
            merged[at] = strategic_merge(_same_source(merged[at], item) if field == "volumes" else merged[at], item)
    return merged


def _same_source(volume: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """The volume without its source where the patch brings another one."""
    sources = {name for name, value in patch.items() if name != "name" and value is not None}
    return volume if sources <= volume.keys() else {"name": volume["name"]}


def _find(items: list[Any], key: str, wanted: Any) -> int | None:
    """The place of the element with the same key; None for what has no key: the API server says what is wrong."""
    if not isinstance(wanted, dict) or key not in wanted:
        return None
    places = (at for at, item in enumerate(items) if isinstance(item, dict) and item.get(key) == wanted[key])
    return next(places, None)
