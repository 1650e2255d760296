"""Which nodes a worker's pod may go to: the accelerator profile, and the placement strategy between replicas."""

from typing import Any

from headrace_api import names
from headrace_api.accelerators import AcceleratorProfile
from headrace_api.inference_model import InferenceModelSpec

_HOST = "kubernetes.io/hostname"
_NEWEST = ["pod-template-hash"]
"""Only pods of one revision are kept apart: a new worker may start beside the old one that it replaces."""


def placement(
    spec: InferenceModelSpec, labels: dict[str, str], profile: AcceleratorProfile | None, lost_seconds: int
) -> dict[str, Any]:
    """The fields of a pod's spec that decide about nodes; a field without content is left out.

    Args:
        spec: the model's.
        labels: the pod's, by which its siblings are found.
        profile: the accelerator; None where no profile applies.
        lost_seconds: how long the pod stays on a node that does not answer.
    """
    siblings = {name: labels[name] for name in (names.LABEL_NAME, names.LABEL_MODEL)}
    tolerations = [_tolerate(state, lost_seconds) for state in ("not-ready", "unreachable")]
    affinity = _between_replicas(spec, siblings)
    if profile and profile.node_affinity:
        affinity["nodeAffinity"] = profile.node_affinity
    fields: dict[str, Any] = {
        "tolerations": [*tolerations, *(profile.tolerations if profile else ())],
        "nodeSelector": profile.node_selector if profile else {},
        "affinity": affinity,
        "topologySpreadConstraints": _spread(spec, siblings),
        "runtimeClassName": profile.runtime_class_name if profile else None,
    }
    return {name: value for name, value in fields.items() if value}


def _tolerate(state: str, seconds: int) -> dict[str, Any]:
    return {
        "key": f"node.kubernetes.io/{state}",
        "operator": "Exists",
        "effect": "NoExecute",
        "tolerationSeconds": seconds,
    }


def _between_replicas(spec: InferenceModelSpec, siblings: dict[str, str]) -> dict[str, Any]:
    term = {"topologyKey": _HOST, "labelSelector": {"matchLabels": siblings}}
    if spec.scaling.placement_strategy == "PACK":
        preferred = [{"weight": 100, "podAffinityTerm": term}]
        return {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}
    if spec.scaling.placement_strategy == "STRICT_SPREAD":
        required = [{**term, "matchLabelKeys": _NEWEST}]
        return {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
    return {}


def _spread(spec: InferenceModelSpec, siblings: dict[str, str]) -> list[dict[str, Any]]:
    if spec.scaling.placement_strategy != "SPREAD":
        return []
    return [
        {
            "maxSkew": 1,
            "topologyKey": _HOST,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": siblings},
            "matchLabelKeys": _NEWEST,
        }
    ]
