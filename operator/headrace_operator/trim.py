"""What the operator keeps in memory of the objects that it watches: only what a decision may read. Pure, in place.

kopf holds an object while its event is handled and, at the start, until everything has been listed. So what is not
needed is taken out of the object itself, as soon as it is seen, and not only left out of a copy.
"""

import sys
from collections.abc import Collection
from typing import Any

Object = dict[str, Any]

REPLICAS_OWNER = "replicasOwner"
"""In the metadata of a kept workload: the controller of autoscaling that owns `spec.replicas`; absent: nobody else."""
REPLICAS_OWNED_SINCE = "replicasOwnedSince"
"""Beside it: when that controller wrote them last (RFC 3339); absent: nobody knows."""

_AUTOSCALER = "kube-controller-manager"
"""The field manager of Kubernetes' HorizontalPodAutoscaler, which writes the subresource `scale`."""
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_POD_SPEC = frozenset({"nodeName", "containers", "initContainers", "priorityClassName", "nodeSelector"})
_POD_CONTAINER = frozenset({"name", "image", "resources"})
_POD_STATUS = frozenset(
    {"phase", "reason", "message", "conditions", "containerStatuses", "initContainerStatuses", "startTime"}
)
_SHORT = 64


def model(item: Object) -> None:
    """An InferenceModel: all but the bookkeeping of the API server and of kubectl."""
    _bookkeeping(item)
    _intern(item)


def child(item: Object) -> None:
    """A child whose status says nothing: what was rendered, and what others changed of it."""
    _bookkeeping(item)
    item.pop("status", None)
    _intern(item)


def workload(item: Object) -> None:
    """A Deployment: with its status, and with who owns its replicas."""
    owned = _replicas_entry(item)
    _bookkeeping(item)
    if owned:
        item["metadata"][REPLICAS_OWNER] = owned["manager"]
        if "time" in owned:
            item["metadata"][REPLICAS_OWNED_SINCE] = owned["time"]
    _intern(item)


def pod(item: Object) -> None:
    """A worker's pod: where it runs, what it asks for, how its containers do."""
    _bookkeeping(item)
    _only(item.get("spec", {}), _POD_SPEC)
    for container in _containers(item):
        _only(container, _POD_CONTAINER)
    _only(item.get("status", {}), _POD_STATUS)
    _intern(item)


def _replicas_entry(item: Object) -> Object | None:
    """The managed fields of the autoscaler that owns `spec.replicas`: `kubectl scale` is none."""
    for entry in item["metadata"].get("managedFields") or []:
        fields = entry.get("fieldsV1") or {}
        if (
            entry.get("manager") == _AUTOSCALER
            and entry.get("subresource") == "scale"
            and "f:replicas" in fields.get("f:spec", {})
        ):
            found: Object = entry
            return found
    return None


def _bookkeeping(item: Object) -> None:
    item["metadata"].pop("managedFields", None)
    (item["metadata"].get("annotations") or {}).pop(_LAST_APPLIED, None)


def _containers(item: Object) -> list[Object]:
    spec = item.get("spec", {})
    return [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]


def _only(item: Object, names: Collection[str]) -> None:
    for name in item.keys() - names:
        del item[name]


def _intern(item: Object) -> None:
    """Have equal keys and short texts once in memory: each event was parsed by itself, with copies of all of them."""
    for part in item.values():
        if isinstance(part, dict):
            shared = _shared(part)
            part.clear()
            part.update(shared)


def _shared(value: Any) -> Any:
    if isinstance(value, str):
        return sys.intern(value) if len(value) <= _SHORT else value
    if isinstance(value, dict):
        return {sys.intern(key): _shared(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_shared(inner) for inner in value]
    return value
