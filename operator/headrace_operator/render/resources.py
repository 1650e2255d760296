"""What a worker's container asks for: CPUs, accelerators and other devices."""

from typing import Any

from headrace_api.accelerators import GPU_RESOURCE, AcceleratorProfile, claims_devices, extended
from headrace_api.inference_model import InferenceModelSpec


def resources(spec: InferenceModelSpec, profile: AcceleratorProfile | None) -> dict[str, Any]:
    """Requests and limits of a replica, which is one pod.

    A model whose template claims devices (dynamic resource allocation) has its GPUs from there: no device plugin is
    asked for them, unless the template itself says so.
    """
    found: dict[str, Any] = {}
    if (cpus := spec.scaling.num_cpus_per_worker) is not None:
        found["requests"] = {"cpu": f"{round(cpus * spec.scaling.num_workers * 1000)}m"}
    limits = {name: f"{amount:.0f}" for name, amount in extended(spec).items()}
    if spec.gpus and not claims_devices(spec):
        limits[profile.resource_name if profile else GPU_RESOURCE] = str(spec.gpus)
    if limits:
        found["limits"] = limits
    return found
