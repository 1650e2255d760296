"""`spec.engine` of an `InferenceModel`: what serves the model, and from where its weights come."""

from typing import Annotated, Self

from pydantic import ConfigDict, Field, StrictInt, StrictStr, model_validator

from headrace_api.base import KubernetesDocument
from headrace_api.portable import PortableMap, not_portable
from headrace_api.worker_config import ADAPTER_NAME, AnyEngine, LoggerLevel, Optimize, SchedulerPolicy

VERBATIM = Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})
FreeForm = Annotated[PortableMap, VERBATIM]
"""A map that is kept verbatim."""


class RuntimeEnv(KubernetesDocument):
    """Environment of the engine process: Ray's runtime environment, keys other than `envVars` verbatim."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})

    env_vars: dict[str, str] = Field(default={}, description="Environment variables for the engine.")

    @model_validator(mode="after")
    def _is_portable(self) -> Self:
        if problem := not_portable(self.model_extra):
            raise ValueError(problem)
        return self


class PromptFormat(KubernetesDocument):
    """How chat messages become a prompt; see headrace_api.prompts. Empty: the model takes prompts only, no chat."""

    system: str | None = Field(default=None, description="The system message, with {instruction} for its text.")
    assistant: str | None = Field(default=None, description="A past answer, with {instruction} for its text.")
    trailing_assistant: str | None = Field(default=None, description="What comes before the new answer.")
    user: str | None = Field(
        default=None, description="A user message, with {instruction} for its text and {system} if systemInUser."
    )
    default_system_message: str | None = Field(default=None, description="Used when a request has none.")
    system_in_user: bool | None = Field(default=None, description="The system message goes into the user message.")
    add_system_tags_even_if_message_is_empty: bool | None = Field(
        default=None, description="Write the system tags also when there is no system message."
    )
    strip_whitespace: bool | None = Field(default=None, description="Strip the messages' texts; true when absent.")


class Generation(KubernetesDocument):
    """Default generation parameters."""

    prompt_format: PromptFormat | None = Field(
        default=None,
        description="How chat messages become a prompt; the tokenizer's own template when absent; no chat when empty.",
    )
    generate_kwargs: FreeForm = Field(default={}, description="Parameters for requests that do not set them.")
    stopping_sequences: list[
        Annotated[
            StrictStr | StrictInt | list[StrictInt | StrictStr],
            Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True}),
        ]
    ] = Field(
        default=[],
        description="Where generation stops: texts, token ids or lists of them. A request may add more.",
    )


class ExtraFiles(KubernetesDocument):
    """A folder that is fetched beside the weights."""

    bucket_uri: str = Field(description="The folder in the bucket.")
    destination_path: str = Field(description="Where it goes in the worker's pod.")


class S3AwsCredentials(KubernetesDocument):
    """Where credentials for the bucket are made."""

    create_aws_credentials_url: str = Field(description="The URL that gives credentials.")
    auth_token_env_variable: str | None = Field(default=None, description="The variable with the token for that URL.")


class S3Mirror(KubernetesDocument):
    """Where the weights are in S3."""

    bucket_uri: str | None = Field(default=None, description="s3://bucket/folder/ with the model's files.")
    s3_sync_args: list[str] | None = Field(default=None, description="Arguments as for `aws s3 sync`.")
    s3_aws_credentials: S3AwsCredentials | None = Field(default=None, description="Where credentials are made.")
    extra_files: list[ExtraFiles] = Field(default=[], description="Folders that are fetched beside the weights.")


class GcsMirror(KubernetesDocument):
    """Where the weights are in Google Cloud Storage."""

    bucket_uri: str = Field(description="gs://bucket/folder/ with the model's files.")
    extra_files: list[ExtraFiles] = Field(default=[], description="Folders that are fetched beside the weights.")


class Adapter(KubernetesDocument):
    """Further weights on top of the model's own (LoRA)."""

    name: str = Field(pattern=ADAPTER_NAME, description="It is asked for as MODEL:NAME.")
    source: str = Field(
        min_length=1,
        description="A folder or file in the worker's pod, a Hugging Face id, s3://bucket/folder/ or gs://bucket/folder/.",
    )


class SecretRef(KubernetesDocument):
    """A Secret in the model's namespace."""

    name: str = Field(min_length=1, description="The Secret's name.")


class Memory(KubernetesDocument):
    """How much accelerator memory the engine takes."""

    auto_memory_config: bool = Field(default=True, description="Let the engine take what is free, less the margin.")
    memory_safety_margin: float = Field(default=0.05, ge=0, lt=1, description="The share of memory left free.")


class Unstable(KubernetesDocument):
    """Settings without a promise."""

    skip_checkpoint_load: bool = Field(default=False, description="Start with random weights, for load tests.")


class Engine(KubernetesDocument):
    """What serves the model."""

    type: AnyEngine = Field(
        description="The inference engine; vendor.Name: one that another distribution adds to the runtime image."
    )
    model_id: str | None = Field(
        default=None,
        min_length=1,
        description="The name by which clients ask for the model; queue.checkpointName when absent.",
    )
    hf_model_id: str | None = Field(
        default=None,
        description="A Hugging Face id or a path inside the worker's pod; modelId when absent.",
    )
    tokenizer_id: str | None = Field(default=None, description="A tokenizer on the Hugging Face Hub; hfModelId's own.")
    model_type: str | None = Field(
        default=None, description="text-generation or embedding; for TRTLLMEngine its batching, InflightFusedBatching."
    )
    model_url: str | None = Field(default=None, description="A page about the model, for people.")
    model_description: str | None = Field(default=None, description="A sentence about the model, for people.")
    engine_kwargs: FreeForm = Field(default={}, description="Arguments for the engine, passed on as they are.")
    max_total_tokens: int | None = Field(
        default=None,
        ge=1,
        description="The longest prompt and answer together, in tokens; the model's own when absent.",
    )
    runtime_env: RuntimeEnv = Field(default=RuntimeEnv(), description="Environment of the engine process.")
    s3_mirror: S3Mirror | None = Field(default=None, description="Weights in S3 instead of the Hugging Face Hub.")
    gcs_mirror: GcsMirror | None = Field(default=None, description="Weights in Google Cloud Storage instead.")
    credentials_secret_ref: SecretRef | None = Field(
        default=None,
        description=(
            "A Secret whose keys become the worker's environment: HF_TOKEN, AWS_ACCESS_KEY_ID, "
            "GOOGLE_SERVICE_ACCOUNT_KEY and so on; the chart's runtime.credentialsSecret when absent."
        ),
    )
    generation: Generation = Field(default=Generation(), description="Default generation parameters.")
    model_local_path: str | None = Field(default=None, description="TRTLLMEngine: the directory of the built engine.")
    scheduler_policy: SchedulerPolicy | None = Field(
        default=None, description="TRTLLMEngine: which requests get memory first."
    )
    logger_level: LoggerLevel | None = Field(default=None, description="TRTLLMEngine: the engine's own log level.")
    max_num_sequences: int | None = Field(
        default=None, ge=1, description="TRTLLMEngine: sequences that the backend keeps state for."
    )
    max_tokens_in_paged_kv_cache: int | None = Field(
        default=None, ge=1, description="TRTLLMEngine: the paged KV cache's size, in tokens."
    )
    kv_cache_free_gpu_mem_fraction: float | None = Field(
        default=None, gt=0, le=1, description="TRTLLMEngine: the share of free GPU memory for the KV cache."
    )
    enable_trt_overlap: bool | None = Field(default=None, description="TRTLLMEngine: overlap steps of two batches.")
    max_batch_size: int | None = Field(default=None, ge=1, description="EmbeddingEngine: texts in one batch.")
    batch_wait_timeout_seconds: float | None = Field(
        default=None, ge=0, description="EmbeddingEngine: how long a batch waits to fill up."
    )
    optimize: Optimize | None = Field(default=None, description="EmbeddingEngine: run as ONNX.")
    pipeline_parallel_size: int = Field(
        default=1, ge=1, description="Pipeline stages; numWorkers is this times the tensor parallel size."
    )
    tokenizer_path: str | None = Field(default=None, description="A tokenizer that is not beside the weights.")
    weight_set_directories: list[str] = Field(
        default=[], description="Directories in the worker's pod with the weights; before hfModelId."
    )
    adapters: list[Adapter] = Field(
        default=[],
        description="LoRA adapters that are served beside the model. A change of them restarts no worker of "
        "VLLMEngine, and replaces the workers of other engines, which load adapters only when they start.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    memory: Memory = Field(default=Memory(), description="How much accelerator memory the engine takes.")
    unstable: Unstable = Field(default=Unstable(), description="Settings without a promise.")
