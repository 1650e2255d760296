"""The `InferenceModel` resource, `headrace.dev/v1alpha1`: one model that shall be served.

The spec mirrors the model registry and the worker file: the seed's field in camelCase, units in the name, engine
arguments verbatim. The CRD is generated from these classes (`headrace_api.crd`), so a description here is what
`kubectl explain` prints. Only a field's own shape is checked here; what fields mean together is checked by
`headrace_api.rules`.
"""

import math
from typing import Annotated, Literal

from pydantic import Field

from headrace_api.base import KubernetesDocument
from headrace_api.inference_model_engine import VERBATIM, Engine, FreeForm
from headrace_api.parallel import data_parallel_size
from headrace_api.portable import PatchMap
from headrace_api.worker_config import URL_PATTERN, Port

GROUP = "headrace.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "InferenceModel"
PLURAL = "inferencemodels"
SINGULAR = "inferencemodel"
SHORT_NAME = "hrm"

_MOST_REPLICAS = 10_000
_WEEK_SECONDS = 604_800
"""What is remembered over a period is kept in memory: longer ones, and intervals of nothing, are mistakes."""
_Replicas = Annotated[int, Field(ge=0, le=_MOST_REPLICAS)]
_Period = Annotated[float, Field(ge=0.1, le=_WEEK_SECONDS)]
_Delay = Annotated[float, Field(ge=0, le=_WEEK_SECONDS)]
_Smoothing = Annotated[float, Field(gt=0, le=100)]


class Autoscaling(KubernetesDocument):
    """Ray Serve's autoscaling policy: how many replicas for how many requests."""

    min_replicas: _Replicas = Field(default=1, description="The fewest replicas.")
    initial_replicas: _Replicas | None = Field(default=None, description="Replicas to begin with.")
    max_replicas: int = Field(default=1, ge=1, le=_MOST_REPLICAS, description="The most replicas.")
    target_ongoing_requests_per_replica: float = Field(
        default=1.0, ge=0.001, description="Requests, waiting and running, that one replica shall have."
    )
    metrics_interval_seconds: _Period = Field(default=10.0, description="How often requests are counted.")
    look_back_period_seconds: _Period = Field(default=30.0, description="Over how long the count is averaged.")
    smoothing_factor: _Smoothing = Field(default=1.0, description="How much of the gap one decision closes.")
    upscale_smoothing_factor: _Smoothing | None = Field(default=None, description="The same, for more replicas.")
    downscale_smoothing_factor: _Smoothing | None = Field(default=None, description="The same, for fewer.")
    upscale_delay_seconds: _Delay = Field(default=30.0, description="How long a decision for more must hold.")
    downscale_delay_seconds: _Delay = Field(default=600.0, description="How long a decision for fewer must hold.")

    @property
    def first_replicas(self) -> int:
        """Replicas of a new model: initialReplicas, else minReplicas."""
        return self.min_replicas if self.initial_replicas is None else self.initial_replicas


class Deployment(KubernetesDocument):
    """How many requests and replicas."""

    autoscaling: Autoscaling | None = Field(default=None, description="When replicas come and go; fixed when absent.")
    max_concurrent_queries: int | None = Field(
        default=None, ge=1, description="Requests that one replica takes at a time; the engine's own limit when absent."
    )
    ray_actor_options: FreeForm = Field(default={}, description="Ray's options, kept for the Ray-style file.")


PlacementStrategy = Literal["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"]


class Scaling(KubernetesDocument):
    """What one replica occupies."""

    num_workers: int = Field(default=1, ge=1, description="GPUs (Ray: workers) per replica.")
    num_gpus_per_worker: float | None = Field(
        default=None,
        ge=0,
        description="GPUs per worker, at most 1. When absent, 0 for LlamaCppEngine and 1 for the other engines.",
    )
    num_cpus_per_worker: float | None = Field(
        default=None, ge=0, le=4096, description="CPU cores per worker, as a request."
    )
    placement_strategy: PlacementStrategy | None = Field(
        default=None,
        description="One pod holds all workers of a replica; STRICT_PACK, as when absent, asks for no more. PACK: "
        "replicas rather on few nodes. SPREAD: rather on many. STRICT_SPREAD: each replica on a node of its own.",
    )
    pg_timeout_seconds: float | None = Field(
        default=None, gt=0, description="How long Ray waits for a placement group, kept for the Ray-style file."
    )
    resources_per_worker: dict[str, float] = Field(
        default={},
        description="Ray custom resources. accelerator_type_a10 picks the accelerator profile a10 of the chart's "
        "runtime.accelerators; a name with a slash, such as rdma/hca, is a Kubernetes extended resource.",
    )


class Ray(KubernetesDocument):
    """What only Ray has: kept verbatim, so that the Ray-style file says all that the imported one said."""

    dialect: Literal["registry", "ray-serve-llm"] = Field(
        default="registry",
        description="The form of model.yaml: the model registry's, or ray.serve.llm's LLMConfig of today.",
    )
    accelerator_type: str | None = Field(
        default=None, description="LLMConfig's accelerator_type: picks the accelerator profile of that name."
    )
    multiplex_config: FreeForm | None = Field(default=None, description="The registry's multiplex_config.")
    env_vars_to_propagate: list[str] | None = Field(
        default=None, description="The registry's env_vars_to_propogate: variables of Ray's driver for its workers."
    )
    model_source: FreeForm | None = Field(
        default=None, description="LLMConfig's model_source, where it is a bucket that is neither S3 nor GCS."
    )
    lora_config: FreeForm | None = Field(default=None, description="LLMConfig's lora_config.")
    placement_group_config: FreeForm | None = Field(
        default=None, description="LLMConfig's placement_group_config, where scaling cannot express it."
    )
    deployment_config: FreeForm | None = Field(
        default=None, description="LLMConfig's other deployment options, also those of its autoscaling_config."
    )
    experimental_configs: FreeForm | None = Field(default=None, description="LLMConfig's experimental_configs.")
    callback_config: FreeForm | None = Field(default=None, description="LLMConfig's callback_config.")
    log_engine_metrics: bool | None = Field(default=None, description="LLMConfig's log_engine_metrics.")


class SecretKeyRef(KubernetesDocument):
    """A key of a Secret in the model's namespace."""

    name: str = Field(min_length=1, description="The Secret's name.")
    key: str = Field(default="token", min_length=1, description="The key in the Secret.")


class QueueRef(KubernetesDocument):
    """The queue that the workers pull from."""

    url: str | None = Field(
        default=None,
        pattern=URL_PATTERN,
        description="The queue's base URL; the queue that the chart installed when absent.",
    )
    token_secret_ref: SecretKeyRef | None = Field(
        default=None, description="Where the worker token is; the chart's own Secret when absent."
    )
    checkpoint_name: str | None = Field(
        default=None, min_length=1, description="The model's name on the queue; engine.modelId when absent."
    )
    tags: list[str] = Field(default=[], description="Tags that the workers register with.")
    hostings: list[str] = Field(default=[], description="Hostings that the workers register with, beside the cloud.")
    http_request_retries: int = Field(
        default=7, ge=0, description="Quick attempts to reach the queue before the worker slows down."
    )


class Monitoring(KubernetesDocument):
    """Where workers can be watched."""

    metrics_port: Port = Field(default=4000, description="The port of metrics and probes.")
    tcp_probes: list[Port] = Field(default=[], description="Ports that accept connections only while ready.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="The worker's LOG_LEVEL; prompts are logged at DEBUG only."
    )


Weekday = Literal["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]


class MaintenanceWindow(KubernetesDocument):
    """A time of the week in which workers may be replaced for changes of the operator's own defaults."""

    days: list[Weekday] = Field(default=[], description="Days on which it begins; every day when empty.")
    start: str = Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$", description="When it begins, HH:MM.")
    duration_minutes: int = Field(ge=1, le=10080, description="How long it lasts.")
    time_zone: str = Field(default="UTC", description="The IANA time zone of start, such as Europe/Berlin.")


class Rollout(KubernetesDocument):
    """How workers are replaced by those of a newer revision."""

    strategy: Literal["Surge", "Replace"] = Field(
        default="Surge",
        description="Surge: a new worker is ready before an old one stops; needs a spare GPU. Replace: an old worker "
        "stops first, one at a time, for when there is none.",
    )
    on_failure: Literal["Stop", "RollBack"] = Field(
        default="Stop",
        description="A revision that does not become ready is stopped and reported; RollBack also brings back the "
        "newest revision that was ready.",
    )
    progress_deadline_seconds: int = Field(
        default=1800, ge=10, description="How long a revision may go without a further ready worker."
    )
    maintenance_windows: list[MaintenanceWindow] = Field(
        default=[],
        description="When changes that come from the operator alone may replace workers; else they wait for the "
        "annotation headrace.dev/approve-render.",
    )


class ModelCache(KubernetesDocument):
    """Where downloaded weights stay when a worker goes; the pod's own disk when absent."""

    persistent_volume_claim: str | None = Field(
        default=None, min_length=1, description="A claim in the model's namespace; several workers need ReadWriteMany."
    )
    host_path: str | None = Field(
        default=None,
        pattern="^/.+",
        description="A directory of the node; the restricted Pod Security profile forbids it.",
    )


_VLLM = frozenset({"VLLMEngine", "luminous"})


class InferenceModelSpec(KubernetesDocument):
    """What shall be served and how; only engine.type and a name (engine.modelId) are required."""

    enabled: bool = Field(default=True, description="When false nothing runs; the ConfigMap stays.")
    backend: Literal["Deployment"] = Field(default="Deployment", description="The workload that runs the workers.")
    replicas: int = Field(default=1, ge=0, description="Workers to run; also written through the scale subresource.")
    deployment: Deployment = Field(default=Deployment(), description="How many requests and replicas.")
    engine: Engine = Field(description="What serves the model.")
    scaling: Scaling = Field(default=Scaling(), description="What one replica occupies.")
    queue: QueueRef = Field(default=QueueRef(), description="The queue that the workers pull from.")
    monitoring: Monitoring = Field(default=Monitoring(), description="Where workers can be watched.")
    rollout: Rollout = Field(default=Rollout(), description="How workers are replaced by newer ones.")
    model_cache: ModelCache | None = Field(
        default=None, description="Where downloaded weights stay; as runtime.modelCache of the chart when absent."
    )
    ray: Ray = Field(default=Ray(), description="What only Ray has, kept for the Ray-style file.")
    template: Annotated[PatchMap, VERBATIM] = Field(
        default={},
        description="A patch for the pod template (strategic merge): node selectors, tolerations, volumes, more "
        "environment. The worker's container is called worker.",
    )

    @property
    def model_name(self) -> str:
        """The name that clients use for the model."""
        return self.queue.checkpoint_name or self.engine.model_id or ""

    @property
    def gpus(self) -> int:
        """GPUs per replica: whole ones, because Kubernetes does not divide them."""
        return math.ceil(self.gpu_share)

    @property
    def gpu_share(self) -> float:
        """GPUs per replica as Ray counts them; a float, because what no rule has bounded may be any number.

        Each copy of vLLM's data parallelism has as many workers as numWorkers says.
        """
        copies = data_parallel_size(self.engine.engine_kwargs) if self.engine.type in _VLLM else 1
        return self._gpus_per_worker * self.scaling.num_workers * copies

    @property
    def uses_gpus(self) -> bool:
        """Whether a replica has any GPU."""
        return self._gpus_per_worker > 0

    @property
    def _gpus_per_worker(self) -> float:
        given = self.scaling.num_gpus_per_worker
        return given if given is not None else 0 if self.engine.type == "LlamaCppEngine" else 1

    @property
    def first_replicas(self) -> int:
        """Workers that shall run as long as no scaling decision says otherwise."""
        if not self.enabled:
            return 0
        policy = self.deployment.autoscaling
        return policy.first_replicas if policy else self.replicas
