"""Ray's placement group of an LLMConfig and `spec.scaling`: bundles that are all alike are workers."""

from typing import Any, get_args

from headrace_api.inference_model import PlacementStrategy

_GPU, _CPU = "GPU", "CPU"
_STRATEGIES = get_args(PlacementStrategy)


def to_scaling(group: dict[str, Any], num_workers: int) -> dict[str, Any] | None:
    """The scaling fields that give exactly this placement group again; None when none do."""
    bundles = group.get("bundles")
    scaling = _amounts(bundles[0]) if isinstance(bundles, list) and bundles else None
    if scaling is None or group.get("strategy", "PACK") not in _STRATEGIES:
        return None
    if "strategy" in group:
        scaling["placement_strategy"] = group["strategy"]
    return scaling if from_scaling(scaling, num_workers) == group else None


def occupied(group: dict[str, Any]) -> dict[str, Any]:
    """What a placement group that is kept verbatim says of the GPUs, cores and resources of every worker."""
    if (scaling := _amounts(group.get("bundle_per_worker"))) is not None:
        return scaling
    listed = group.get("bundles")
    bundles = [bundle for bundle in listed if isinstance(bundle, dict)] if isinstance(listed, list) else []
    no_gpu = bool(bundles) and not any(bundle.get(_GPU) for bundle in bundles)
    return {"num_gpus_per_worker": 0} if no_gpu else {}


def _amounts(bundle: Any) -> dict[str, Any] | None:
    """One worker's bundle as scaling fields; None when it is more than a worker of the spec can have."""
    if not isinstance(bundle, dict) or not all(_is_amount(value) for value in bundle.values()):
        return None
    if bundle.get(_GPU, 0) > 1:
        return None
    scaling = {"num_gpus_per_worker": bundle.get(_GPU, 0)}
    if _CPU in bundle:
        scaling["num_cpus_per_worker"] = bundle[_CPU]
    if custom := {name: amount for name, amount in bundle.items() if name not in {_GPU, _CPU}}:
        scaling["resources_per_worker"] = custom
    return scaling


def _is_amount(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 4096


def from_scaling(scaling: dict[str, Any], num_workers: int) -> dict[str, Any] | None:
    """The placement group that says what the scaling fields say; None when they only say Ray's default."""
    stated = ("num_gpus_per_worker", "num_cpus_per_worker", "resources_per_worker", "placement_strategy")
    if not any(scaling.get(name) is not None and scaling.get(name) != {} for name in stated):
        return None
    gpus, cpus = scaling.get("num_gpus_per_worker", 1), scaling.get("num_cpus_per_worker")
    bundle = {
        **({_GPU: gpus} if gpus else {}),
        **({_CPU: cpus} if cpus is not None else {}),
        **scaling.get("resources_per_worker", {}),
    }
    group: dict[str, Any] = {"bundles": [dict(bundle or {_GPU: 0}) for _ in range(num_workers)]}
    if strategy := scaling.get("placement_strategy"):
        group["strategy"] = strategy
    return group
