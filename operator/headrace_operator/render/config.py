"""What the rendering needs to know beside the model: the chart's values."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from headrace_api.accelerators import AcceleratorProfile, choose, duplicates, find
from headrace_api.base import Document
from headrace_api.inference_model import InferenceModelSpec, ModelCache
from headrace_api.rules.finding import Facts
from headrace_api.worker_config import AnyEngine

AcceleratorName = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$")]
FROM_JSON = ("images", "image_pull_secrets", "accelerators", "model_cache", "pod_monitor_labels")
"""Fields that the chart hands over as JSON."""


class PullSecret(Document):
    """A reference to a Secret of the type `kubernetes.io/dockerconfigjson`, as in a pod."""

    name: str = Field(min_length=1)


class RenderConfig(Document):
    """Values of the installation that all models share."""

    queue_url: str
    """The queue that workers pull from unless the model names another."""
    token_secret_name: str | None = None
    """The Secret, in the model's namespace, with the worker token; without it workers register without a token."""
    token_secret_key: str = "token"  # noqa: S105
    credentials_secret_name: str | None = None
    """The Secret, in the model's namespace, with keys for the places of weights; none when absent."""
    images: dict[AnyEngine | Literal["*"], str]
    """The runtime image of each engine that this installation offers; `*`: of those that are not named."""
    image_pull_policy: str = "IfNotPresent"
    image_pull_secrets: tuple[PullSecret, ...] = ()
    """For the workers' images; the Secrets have to be in the models' namespaces."""
    grace_seconds: int = Field(default=60, ge=10)
    """How long a worker may take to finish its requests when it is told to stop."""
    node_lost_seconds: int = Field(default=30, ge=0)
    """How long after its node stops answering a worker is replaced."""
    network_policies: bool = True
    """Whether workers get a NetworkPolicy: asked for metrics only, reaching the queue and model sources only."""
    pod_monitors: bool = False
    """Whether workers get a PodMonitor; the cluster must have the Prometheus operator's CRD."""
    pod_monitor_labels: dict[str, str] = Field(default={})
    """Further labels of PodMonitors, by which a Prometheus selects them."""

    gpus_per_node: int | None = Field(default=None, ge=1)
    """GPUs of the largest node, for the rules; not checked when absent."""

    accelerators: Mapping[AcceleratorName, AcceleratorProfile] = {}
    """The kinds of accelerator that models can ask for, by name."""
    default_accelerator: str | None = None
    """The profile of models that need GPUs and name no kind."""
    model_cache: ModelCache | None = None
    """Where workers keep downloaded models, unless the model says; the pod's own disk when absent."""

    @field_validator("accelerators")
    @classmethod
    def _each_is_one_kind(cls, profiles: Mapping[str, AcceleratorProfile]) -> Mapping[str, AcceleratorProfile]:
        if twice := duplicates(profiles):
            raise ValueError(f"{' and '.join(twice)} are the same name")
        return profiles

    @field_validator("default_accelerator")
    @classmethod
    def _is_a_profile(cls, name: str | None, info: ValidationInfo) -> str | None:
        profiles = info.data.get("accelerators", {})
        if name is not None and find(profiles, name) is None:
            raise ValueError(f"there is no such profile; accepted: {', '.join(sorted(profiles)) or 'none'}")
        return name

    @field_validator("model_cache")
    @classmethod
    def _is_one_place(cls, cache: ModelCache | None) -> ModelCache | None:
        if cache and (cache.persistent_volume_claim is None) == (cache.host_path is None):
            raise ValueError("accepted: one of persistentVolumeClaim and hostPath")
        return cache

    @property
    def facts(self) -> Facts:
        """What the rules may know of the cluster."""
        return Facts(
            gpus_per_node={} if self.gpus_per_node is None else {"the largest node": self.gpus_per_node},
            accelerators=self.accelerators,
            default_accelerator=self.default_accelerator,
        )

    def accelerator(self, spec: InferenceModelSpec) -> AcceleratorProfile | None:
        """The profile that the model's pods are placed by; None where there is none."""
        return choose(spec, self.accelerators, self.default_accelerator)

    def image_of(self, spec: InferenceModelSpec) -> str | None:
        """The image for a model: its accelerator's own, where that has one for the engine."""
        profile = self.accelerator(spec)
        return (profile.images.get(spec.engine.type) if profile else None) or self.image(spec.engine.type)

    def image(self, engine: AnyEngine) -> str | None:
        """The image for an engine; `luminous`, any engine that can load the weights, is vLLM unless it has its own."""
        names: tuple[AnyEngine | Literal["*"], ...] = (
            (engine, "VLLMEngine", "*") if engine == "luminous" else (engine, "*")
        )
        return next((image for name in names if (image := self.images.get(name))), None)
