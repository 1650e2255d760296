"""What the cluster must look like, from the specs alone, and in what it differs. Pure.

The objects are the operator's own rendering of each spec; that the rendering is right is tested elsewhere. Here it is
checked that exactly these objects exist, that every rendered field has its value and no other is the operator's, that
what others own is as they left it, and that the status says how it stands.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from headrace_api import names
from headrace_api.inference_model import InferenceModelSpec
from headrace_operator.observed import Problem
from headrace_operator.plan import read_spec
from headrace_operator.render import revision
from headrace_operator.render.children import children
from headrace_operator.render.config import RenderConfig
from headrace_operator.status import ready_reason
from tests.faults.api import Object, Ref, is_model, ref

_CHANGING = frozenset({"resourceVersion", "generation", "managedFields", "uid", "creationTimestamp"})
APPLY_REFUSED = "ApplyRefused"
"""The reason of Ready when the API server does not take an object that the spec renders to."""
_CONTROLLER_ANNOTATION = "deployment.kubernetes.io/revision"


@dataclass(frozen=True)
class Wanted:
    """A model as it is, and the spec that its objects follow: its own, or the last one that could be rendered."""

    model: Object
    runs: Object | None
    """None when there has been no spec yet that could be rendered."""
    refused: bool = False
    """Whether the API server refused an object of its own spec, and the workload of `runs` goes on."""
    leaves: Object | None = None
    """The spec whose workers are still there, because those of `runs` are not ready."""


def expected(wanted: Iterable[Wanted], config: RenderConfig) -> dict[Ref, Object]:
    """Every object that must exist beside the models themselves."""
    found: dict[Ref, Object] = {}
    for one in wanted:
        former = _rendered(one.model, one.leaves, None, config)
        found |= {key: item for key, item in former.items() if key[1] == "ConfigMap"}
        found |= _rendered(one.model, one.runs, one.leaves, config)
        if one.refused:
            # a workload that runs, and what its pods stand behind, are as before; what is missing is made
            after = _rendered(one.model, one.model["spec"], one.runs, config)
            made = {key for key in after if key[1] == "ConfigMap" or (key not in found and key[1] != "Deployment")}
            found |= {key: after[key] for key in made}
    return found


def _rendered(model: Object, spec: Object | None, beside: Object | None, config: RenderConfig) -> dict[Ref, Object]:
    """The objects of a spec, while workers of the spec `beside` still run."""
    if spec is None:
        return {}
    metadata = model["metadata"]
    read = _read(model, spec, config)
    others = [] if beside is None else [revision.render(metadata["name"], _read(model, beside, config), config)]
    items = children(metadata, read, config, None, others, _decided(model, read))
    return {ref(item): item for item in items}


def _read(model: Object, spec: Object, config: RenderConfig) -> InferenceModelSpec:
    read = read_spec({**model, "spec": spec}, config)
    assert isinstance(read, InferenceModelSpec), read
    return read


def _decided(model: Object, spec: InferenceModelSpec) -> int | None:
    """How many workers: the autoscaler's truth is the status, everybody else's the spec."""
    scaling = (model.get("status") or {}).get("scaling")
    return int(scaling["desiredReplicas"]) if scaling and spec.enabled and spec.deployment.autoscaling else None


def is_refused(model: Object) -> bool:
    """Whether the operator says of the model's newest spec that the API server refuses an object of it."""
    status = model.get("status") or {}
    current = status.get("observedGeneration") == model["metadata"]["generation"]
    return current and ready_reason(status)[1] == APPLY_REFUSED


def is_valid(model: Object, config: RenderConfig) -> bool:
    """Whether the operator can render the model's spec."""
    spec = read_spec(model, config)
    return not isinstance(spec, Problem) and config.image(spec.engine.type) is not None


def object_differences(
    expected_refs: Iterable[Ref], live: Mapping[Ref, Object], foreign: Mapping[Ref, Object]
) -> list[str]:
    """Objects that are missing, too many, or not as somebody else left them; the models' fields."""
    own = {key for key in live if not is_model(key) and key not in foreign}
    wanted = set(expected_refs) | (_ways_back(live) & own)
    found = [f"missing: {_show(key)}" for key in wanted - own]
    found += [f"should not exist: {_show(key)}{_origin(live[key])}" for key in own - wanted]
    found += [f"foreign and changed: {_show(key)}" for key, item in foreign.items() if live.get(key) != item]
    for key, item in live.items():
        finalizers = item["metadata"].get("finalizers")
        if finalizers and key not in foreign:
            found.append(f"finalizers on {_show(key)}: {finalizers}")
        if item["metadata"].get("deletionTimestamp"):
            found.append(f"still being deleted: {_show(key)}")
    return sorted(found)


def _ways_back(live: Mapping[Ref, Object]) -> set[Ref]:
    """The newest revision of each model whose workers were all ready: kept until a newer one is, however long it takes.

    A model whose spec changes while it is scaled to zero has such a one.
    """
    models = {key: item.get("status") or {} for key, item in live.items() if is_model(key)}
    ready = {key: (status.get("rollout") or {}).get("readyRevision") for key, status in models.items()}
    return {("v1", "ConfigMap", key[2], f"{key[3]}-{name}") for key, name in ready.items() if name}


def field_differences(canonical: Object, live: Object) -> list[str]:
    """In what an object differs from what it would be if it were applied once more, ownership of fields included."""
    return [f"{_show(ref(live))}: {text}" for text in _differ(_comparable(canonical), _comparable(live), "")]


def manager_differences(live: Object) -> list[str]:
    """Field managers with the operator's name that are not its one server-side apply."""
    entries = [one for one in live["metadata"].get("managedFields", []) if one["manager"] == names.MANAGED_BY]
    if [one["operation"] for one in entries] == ["Apply"]:
        return []
    return [f"{_show(ref(live))}: managed by {[(one['operation'], one.get('subresource')) for one in entries]}"]


def _comparable(item: Object) -> Object:
    metadata = {key: value for key, value in item["metadata"].items() if key != "resourceVersion"}
    fields = [{**one, "time": None} for one in metadata.pop("managedFields", [])]
    metadata["managedFields"] = sorted(fields, key=lambda one: json.dumps(one, sort_keys=True))
    return {**item, "metadata": metadata}


def status_differences(one: Wanted, deployment: Object | None, config: RenderConfig) -> list[str]:
    """In what the model's status does not say how it stands."""
    name, generation = one.model["metadata"]["name"], one.model["metadata"]["generation"]
    status = one.model.get("status") or {}
    if status.get("observedGeneration") != generation:
        return [f"{name}: observedGeneration {status.get('observedGeneration')}, not {generation}"]
    conditions = {condition["type"]: condition for condition in status.get("conditions", [])}
    late = [kind for kind, found in conditions.items() if found["observedGeneration"] != generation]
    wanted = _conditions(one, deployment, config)
    wrong = {kind: conditions.get(kind) for kind, value in wanted.items() if _word(conditions, kind) != value}
    found = [f"{name}: condition {kind} is not {wanted[kind]}: {value}" for kind, value in wrong.items()]
    found += [f"{name}: condition {kind} is of an earlier generation" for kind in late]
    silent = [kind for kind, condition in conditions.items() if not condition["reason"] or not condition["message"]]
    return found + [f"{name}: condition {kind} has no reason or message" for kind in silent]


def _conditions(one: Wanted, deployment: Object | None, config: RenderConfig) -> dict[str, str]:
    if one.refused or not is_valid(one.model, config):
        return {"Ready": "False", "Stalled": "True", "ConfigValid": "False", "Reconciling": "False"}
    ready = not one.model["spec"]["enabled"] or (deployment is not None and is_available(deployment))
    if ready:
        return {"Ready": "True", "Stalled": "False", "ConfigValid": "True", "Reconciling": "False"}
    return {"Ready": "False", "ConfigValid": "True"}


def is_available(deployment: Object) -> bool:
    """Whether every pod of a Deployment is of its newest template and ready."""
    status, wanted = deployment.get("status", {}), deployment["spec"]["replicas"]
    counts = [status.get(field, 0) for field in ("replicas", "updatedReplicas", "readyReplicas")]
    return status.get("observedGeneration") == deployment["metadata"]["generation"] and counts == [wanted] * 3


def _word(conditions: Mapping[str, Object], kind: str) -> str | None:
    return conditions[kind]["status"] if kind in conditions else None


def content(live: Mapping[Ref, Object]) -> dict[str, Any]:
    """The objects without what counts writes and names lives, to compare two moments between which nothing remains."""
    return {_show(key): _content(item) for key, item in live.items()}


def _content(item: Object) -> Object:
    metadata = {key: value for key, value in item["metadata"].items() if key not in _CHANGING}
    metadata["annotations"] = {
        key: value for key, value in metadata.get("annotations", {}).items() if key != _CONTROLLER_ANNOTATION
    }
    metadata["ownerReferences"] = [{**one, "uid": None} for one in metadata.get("ownerReferences", [])]
    return {**{key: value for key, value in item.items() if key != "status"}, "metadata": metadata}


def content_differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """In what two `content`s differ."""
    return list(_differ(dict(before), dict(after), ""))


def _differ(wanted: Any, found: Any, where: str) -> Iterable[str]:
    if isinstance(wanted, dict) and isinstance(found, dict):
        for key in sorted({*wanted, *found}):
            yield from _differ(wanted.get(key), found.get(key), f"{where}.{key}")
    elif isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        for index, (one, other) in enumerate(zip(wanted, found, strict=True)):
            yield from _differ(one, other, f"{where}[{index}]")
    elif wanted != found:
        yield f"{where}: is {json.dumps(found)[:300]}, not {json.dumps(wanted)[:300]}"


def _origin(item: Object) -> str:
    owners = [f"{one['kind']} {one['name']} {one['uid']}" for one in item["metadata"].get("ownerReferences", [])]
    return f" (of {', '.join(owners) or 'nobody'}, made {item['metadata'].get('creationTimestamp')})"


def _show(key: Ref) -> str:
    return f"{key[1]} {key[2]}/{key[3]}"
