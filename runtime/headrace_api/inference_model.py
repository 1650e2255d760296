"""The `InferenceModel` resource, `headrace.dev/v1alpha1`: one model that shall be served.

The spec mirrors the model registry and the worker file: the seed's field in camelCase, units in the name, engine
arguments verbatim. The CRD is generated from these classes (`headrace_api.crd`), so a description here is what
`kubectl explain` prints. A field is in the spec only if it has an effect.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from headrace_api.base import KubernetesDocument
from headrace_api.worker_config import EngineType, Port

GROUP = "headrace.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "InferenceModel"
PLURAL = "inferencemodels"
SINGULAR = "inferencemodel"
SHORT_NAME = "hrm"

FreeForm = Annotated[dict[str, Any], Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})]
"""A map that is kept verbatim."""

PLACEMENT_GPU_RULE = (
    "numGpusPerWorker is at most 1: for more GPUs per replica set numGpusPerWorker to 1 and numWorkers to the number "
    "of GPUs"
)


class RuntimeEnv(KubernetesDocument):
    """Environment of the engine process."""

    env_vars: dict[str, str] = Field(default={}, description="Environment variables for the engine.")


class Generation(KubernetesDocument):
    """Default generation parameters."""

    stopping_sequences: list[
        Annotated[
            str | int | list[int],
            Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True}),
        ]
    ] = Field(
        default=[],
        description="Where generation stops: texts, token ids or lists of token ids. A request may add more.",
    )


class Memory(KubernetesDocument):
    """How much accelerator memory the engine takes."""

    auto_memory_config: bool = Field(default=True, description="Let the engine take what is free, less the margin.")
    memory_safety_margin: float = Field(default=0.05, ge=0, lt=1, description="The share of memory left free.")


class Unstable(KubernetesDocument):
    """Settings without a promise."""

    skip_checkpoint_load: bool = Field(default=False, description="Start with random weights, for load tests.")


class Engine(KubernetesDocument):
    """What serves the model."""

    type: EngineType = Field(description="The inference engine.")
    model_id: str = Field(min_length=1, description="The name by which clients ask for the model.")
    hf_model_id: str | None = Field(
        default=None,
        description="A Hugging Face id or a path inside the worker's pod; modelId when absent.",
    )
    engine_kwargs: FreeForm = Field(default={}, description="Arguments for the engine, passed on as they are.")
    max_total_tokens: int | None = Field(
        default=None,
        ge=1,
        description="The longest prompt and answer together, in tokens; the model's own when absent.",
    )
    runtime_env: RuntimeEnv = Field(default=RuntimeEnv(), description="Environment of the engine process.")
    generation: Generation = Field(default=Generation(), description="Default generation parameters.")
    pipeline_parallel_size: int = Field(
        default=1, ge=1, description="Pipeline stages; numWorkers is this times the tensor parallel size."
    )
    tokenizer_path: str | None = Field(default=None, description="A tokenizer that is not beside the weights.")
    memory: Memory = Field(default=Memory(), description="How much accelerator memory the engine takes.")
    unstable: Unstable = Field(default=Unstable(), description="Settings without a promise.")

    @field_validator("engine_kwargs")
    @classmethod
    def _no_null_in_lists(cls, value: dict[str, Any]) -> dict[str, Any]:
        if path := _null_in_list(value):
            raise ValueError(f"{path} is null: a list may hold anything else (TOML, the worker's file, has no null)")
        return value


def _null_in_list(value: Any, path: str = "", *, in_list: bool = False) -> str:
    """The path of the first null that is in a list or in a map that is in one; empty when there is none."""
    if isinstance(value, dict):
        inner = ((f"{path}.{key}".lstrip("."), item, in_list) for key, item in value.items())
    elif isinstance(value, list):
        inner = ((f"{path}[{at}]", item, True) for at, item in enumerate(value))
    else:
        return path if value is None and in_list else ""
    return next((found for where, item, listed in inner if (found := _null_in_list(item, where, in_list=listed))), "")


class Deployment(KubernetesDocument):
    """How many requests and replicas."""

    max_concurrent_queries: int | None = Field(
        default=None, ge=1, description="Requests that one replica takes at a time; the engine's own limit when absent."
    )


class Scaling(KubernetesDocument):
    """What one replica occupies."""

    num_workers: int = Field(default=1, ge=1, description="GPUs (Ray: workers) per replica.")
    num_gpus_per_worker: float | None = Field(
        default=None,
        ge=0,
        description="GPUs per worker: 0 or 1. When absent, 0 for LlamaCppEngine and 1 for the other engines.",
    )
    num_cpus_per_worker: float | None = Field(
        default=None, ge=0.001, le=4096, description="CPU cores per worker, as a request."
    )
    resources_per_worker: dict[str, float] = Field(
        default={}, description="Ray custom resources, kept for the Ray-style file."
    )

    @model_validator(mode="after")
    def _at_most_one_gpu_per_worker(self) -> Self:
        if self.num_gpus_per_worker not in {None, 0, 1}:
            raise ValueError(PLACEMENT_GPU_RULE)
        return self


class SecretKeyRef(KubernetesDocument):
    """A key of a Secret in the model's namespace."""

    name: str = Field(min_length=1, description="The Secret's name.")
    key: str = Field(default="token", min_length=1, description="The key in the Secret.")


class QueueRef(KubernetesDocument):
    """The queue that the workers pull from."""

    url: str | None = Field(
        default=None,
        pattern=r"^(https?|wss?)://.+",
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


class InferenceModelSpec(KubernetesDocument):
    """What shall be served and how; only engine.type and engine.modelId are required."""

    enabled: bool = Field(default=True, description="When false nothing runs; the ConfigMap stays.")
    backend: Literal["Deployment"] = Field(default="Deployment", description="The workload that runs the workers.")
    replicas: int = Field(default=1, ge=0, description="Workers to run; also written through the scale subresource.")
    deployment: Deployment = Field(default=Deployment(), description="How many requests and replicas.")
    engine: Engine = Field(description="What serves the model.")
    scaling: Scaling = Field(default=Scaling(), description="What one replica occupies.")
    queue: QueueRef = Field(default=QueueRef(), description="The queue that the workers pull from.")
    monitoring: Monitoring = Field(default=Monitoring(), description="Where workers can be watched.")
    template: FreeForm = Field(
        default={},
        description="A patch for the pod template (strategic merge): node selectors, tolerations, volumes, more "
        "environment. The worker's container is called worker.",
    )

    @property
    def model_name(self) -> str:
        """The name that clients use for the model."""
        return self.queue.checkpoint_name or self.engine.model_id

    @property
    def gpus(self) -> int:
        """GPUs per replica."""
        per_worker = self.scaling.num_gpus_per_worker
        if per_worker is None:
            per_worker = 0 if self.engine.type == "LlamaCppEngine" else 1
        return int(per_worker * self.scaling.num_workers)

    @property
    def desired_replicas(self) -> int:
        """Workers that shall run."""
        return self.replicas if self.enabled else 0

    @model_validator(mode="after")
    def _parallel_sizes_fit(self) -> Self:
        if self.scaling.num_workers % self.engine.pipeline_parallel_size:
            raise ValueError(PARALLEL_RULE)
        return self


PARALLEL_RULE = (
    "scaling.numWorkers is a multiple of engine.pipelineParallelSize: their quotient is the tensor parallel size"
)

CEL_RULES: dict[str, list[dict[str, str]]] = {
    "Scaling": [
        {"rule": "!has(self.numGpusPerWorker) || self.numGpusPerWorker in [0.0, 1.0]", "message": PLACEMENT_GPU_RULE}
    ],
    "InferenceModelSpec": [
        {"rule": "self.scaling.numWorkers % self.engine.pipelineParallelSize == 0", "message": PARALLEL_RULE}
    ],
}
"""The rules of the validators above for the API server, in CEL, by the class they belong to."""
