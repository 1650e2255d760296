"""What a worker's container asks for: CPUs, accelerators and other devices."""

from typing import Any

from headrace_api import names
from headrace_api.accelerators import GPU_RESOURCE, AcceleratorProfile, extended
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
    if spec.gpus and not _claims_devices(spec.template):
        limits[profile.resource_name if profile else GPU_RESOURCE] = str(spec.gpus)
    if limits:
        found["limits"] = limits
    return found


def _claims_devices(template: dict[str, Any]) -> bool:
    """Whether the patch gives the worker's container a claim; what is not of a pod's shape claims nothing."""
    pod = template.get("spec")
    containers = pod.get("containers") if isinstance(pod, dict) else None
    return any(
        isinstance(container, dict)
        and container.get("name") == names.WORKER_CONTAINER
        and isinstance(wanted := container.get("resources"), dict)
        and bool(wanted.get("claims"))
        for container in (containers if isinstance(containers, list) else ())
    )
