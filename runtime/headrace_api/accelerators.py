"""Which kind of accelerator a model asks for, and what an installation offers: the chart's `runtime.accelerators`.

A model names a kind as Ray does: as a custom resource, `accelerator_type_a10` (the registry's form) or
`accelerator_type:A10G` (Ray's own), in `scaling.resourcesPerWorker`, or as LLMConfig's `accelerator_type`. Ray writes
them in upper and lower case and with the vendor in front (`NVIDIA_A10G`), so names are compared without either.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import Field

from headrace_api import names
from headrace_api.base import KubernetesDocument
from headrace_api.inference_model import InferenceModelSpec
from headrace_api.worker_config import AnyEngine

GPU_RESOURCE = "nvidia.com/gpu"
"""What NVIDIA's device plugin calls a whole GPU; the resource of models without a profile."""
_RAY = re.compile(r"accelerator_type[_:](.+)", re.IGNORECASE)
_VENDOR = re.compile(r"^(nvidia|tesla)-")

EXTENDED = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
"""The name of an extended resource: a domain, a slash and a name."""

ResourceName = Annotated[str, Field(pattern=f"^{EXTENDED.pattern}$")]
Path = tuple[str | int, ...]


class AcceleratorProfile(KubernetesDocument):
    """One kind of accelerator: how a pod asks for it and which nodes have it."""

    resource_name: ResourceName = GPU_RESOURCE
    """The extended resource of the device plugin, of which a pod asks for as many as the model has GPUs."""
    node_selector: dict[str, str] = {}
    node_affinity: dict[str, Any] = {}
    """A `NodeAffinity` as in a pod, for what labels alone cannot say."""
    tolerations: list[dict[str, Any]] = []
    runtime_class_name: str | None = Field(default=None, min_length=1)
    memory_gib: float | None = Field(default=None, gt=0, alias="memoryGiB")
    """Memory of one unit of the resource."""
    gpus_per_node: int | None = Field(default=None, ge=1)
    """Units of the resource on the largest node of this kind."""
    images: dict[AnyEngine, str] = {}
    """Runtime images that this kind needs in place of the installation's: another vendor's libraries."""

    @property
    def divided(self) -> bool:
        """Whether a unit of the resource is a part of a GPU: a MIG slice, or a time-sliced share."""
        name = self.resource_name.partition("/")[2]
        return name.startswith("mig-") or name.endswith(".shared")


def normal(name: str) -> str:
    """The form in which names are compared: `NVIDIA_A10G` and `a10g` are one kind."""
    return _VENDOR.sub("", re.sub(r"[_\s]+", "-", name.strip().lower()))


def kind_of(resource: str) -> str | None:
    """The kind that a Ray custom resource names; None when it is a resource of another sort."""
    found = _RAY.fullmatch(resource)
    return found[1] if found else None


def asked(spec: InferenceModelSpec) -> dict[Path, str]:
    """The kinds that a model names, by the field that names them; of a resource of which it asks 0 there is none."""
    found: dict[Path, str] = {
        ("spec", "scaling", "resourcesPerWorker", resource): kind
        for resource, amount in spec.scaling.resources_per_worker.items()
        if amount > 0 and (kind := kind_of(resource))
    }
    if spec.ray.accelerator_type:
        found["spec", "ray", "acceleratorType"] = spec.ray.accelerator_type
    return found


def extended(spec: InferenceModelSpec) -> dict[str, float]:
    """The Kubernetes extended resources that a replica asks for beside its GPUs, by name."""
    return {
        resource: amount * spec.scaling.num_workers
        for resource, amount in spec.scaling.resources_per_worker.items()
        if "/" in resource and amount > 0 and kind_of(resource) is None
    }


def find(profiles: Mapping[str, AcceleratorProfile], name: str) -> AcceleratorProfile | None:
    """The profile of that name, in whatever form it is written."""
    wanted = normal(name)
    return next((profile for known, profile in profiles.items() if normal(known) == wanted), None)


def duplicates(profiles: Iterable[str]) -> list[str]:
    """Names that differ only in what does not count; empty when each is one kind."""
    known = sorted(profiles)
    return next((same for name in known if len(same := [one for one in known if normal(one) == normal(name)]) > 1), [])


def choose(
    spec: InferenceModelSpec, profiles: Mapping[str, AcceleratorProfile], default: str | None
) -> AcceleratorProfile | None:
    """The profile for a model: the kind that it names, else the default where it asks a device plugin for GPUs.

    Returns:
        None where no profile applies, also for a name that there is no profile of: rules speak of that.
    """
    kinds = asked(spec)
    if kinds:
        return find(profiles, next(iter(kinds.values())))
    return find(profiles, default) if default and spec.uses_gpus and not claims_devices(spec) else None


def claims_devices(spec: InferenceModelSpec) -> bool:
    """Whether the template gives the worker's container a claim (dynamic resource allocation).

    Its devices, and the nodes that have them, come from the claim then. What is not of a pod's shape claims nothing.
    """
    pod = spec.template.get("spec")
    containers = pod.get("containers") if isinstance(pod, dict) else None
    return any(
        isinstance(container, dict)
        and container.get("name") == names.WORKER_CONTAINER
        and isinstance(resources := container.get("resources"), dict)
        and bool(resources.get("claims"))
        for container in (containers if isinstance(containers, list) else ())
    )
