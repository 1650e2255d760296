"""Ray's placement group of an LLMConfig and `spec.scaling`: bundles that are all alike are workers."""

from typing import Any, get_args

from headrace_api.inference_model import PlacementStrategy

_GPU, _CPU = "GPU", "CPU"
_STRATEGIES = get_args(PlacementStrategy)


def to_scaling(group: dict[str, Any], num_workers: int) -> dict[str, Any] | None:
    """The scaling fields that give exactly this placement group again; None when none do."""
    bundles = group.get("bundles")
    first = bundles[0] if isinstance(bundles, list) and bundles else None
    if not isinstance(first, dict) or not all(_is_amount(value) for value in first.values()):
        return None
    custom = {name: amount for name, amount in first.items() if name not in {_GPU, _CPU}}
    given = {
        "num_gpus_per_worker": first.get(_GPU, 0),
        "num_cpus_per_worker": first.get(_CPU),
        "resources_per_worker": custom or None,
        "placement_strategy": group.get("strategy"),
    }
    scaling = {name: value for name, value in given.items() if value is not None}
    sound = scaling["num_gpus_per_worker"] <= 1 and group.get("strategy", "PACK") in _STRATEGIES
    return scaling if sound and from_scaling(scaling, num_workers) == group else None


def _is_amount(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 4096


def has_no_gpu(group: dict[str, Any]) -> bool:
    """Whether a placement group has bundles and no GPU in any of them."""
    bundles = [bundle for bundle in group.get("bundles") or [] if isinstance(bundle, dict)]
    return bool(bundles) and not any(bundle.get(_GPU) for bundle in bundles)


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
