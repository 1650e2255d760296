"""The model registry's document: one YAML file per model, with `deployment_config`, `engine_config`, `scaling_config`.

The fields are those of the model-registry seed and those that its public implementation had beside them. Unknown keys
are errors. A key that is absent or null has its documented default; this module fills in none of them, so that what a
file says can be told from what it leaves to others.
"""

from typing import Literal

from pydantic import Field

from headrace_api.base import Document
from headrace_api.portable import PortableMap
from headrace_api.prompts import AnyPromptFormat
from headrace_api.worker_config import (
    AnyEngine,
    GcsMirror,
    LoggerLevel,
    Optimize,
    RuntimeEnv,
    S3Mirror,
    SchedulerPolicy,
    StoppingSequence,
)

PlacementStrategy = Literal["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"]


class AutoscalingConfig(Document):
    """Ray Serve's autoscaling: how many replicas for how many requests."""

    min_replicas: int | None = Field(default=None, ge=0, description="The fewest replicas; 1 when absent.")
    initial_replicas: int | None = Field(
        default=None, ge=0, description="Replicas to begin with; min_replicas when absent."
    )
    max_replicas: int | None = Field(default=None, ge=1, description="The most replicas; 1 when absent.")
    target_num_ongoing_requests_per_replica: float | None = Field(
        default=None, gt=0, description="Requests, waiting and running, that one replica shall have; 1 when absent."
    )
    metrics_interval_s: float | None = Field(
        default=None, gt=0, description="How often requests are counted, in seconds; 10 when absent."
    )
    look_back_period_s: float | None = Field(
        default=None, gt=0, description="Over how many seconds the count is averaged; 30 when absent."
    )
    smoothing_factor: float | None = Field(
        default=None, gt=0, description="How much of the gap one decision closes; 1 when absent."
    )
    upscale_smoothing_factor: float | None = Field(
        default=None, gt=0, description="The same, for more replicas; smoothing_factor when absent."
    )
    downscale_smoothing_factor: float | None = Field(
        default=None, gt=0, description="The same, for fewer replicas; smoothing_factor when absent."
    )
    downscale_delay_s: float | None = Field(
        default=None, ge=0, description="How many seconds a decision for fewer must hold; 600 when absent."
    )
    upscale_delay_s: float | None = Field(
        default=None, ge=0, description="How many seconds a decision for more must hold; 30 when absent."
    )


class DeploymentConfig(Document):
    """Ray Serve's settings."""

    autoscaling_config: AutoscalingConfig | None = Field(
        default=None, description="When replicas come and go; one replica when absent."
    )
    max_concurrent_queries: int | None = Field(
        default=None, ge=1, description="Requests that one replica takes at a time; more wait."
    )
    ray_actor_options: PortableMap | None = Field(
        default=None, description="Resources of the deployment itself, in Ray's words."
    )


class Generation(Document):
    """Default generation parameters."""

    prompt_format: AnyPromptFormat | None = Field(
        default=None, description="How chat messages become a prompt; no chat when empty."
    )
    generate_kwargs: PortableMap | None = Field(
        default=None, description="Parameters of a request, where the request does not say otherwise."
    )
    stopping_sequences: list[StoppingSequence] | None = Field(
        default=None, description="Where generation stops: texts, token ids or lists of them."
    )


class EngineConfig(Document):
    """The model, its engine and where its weights are."""

    model_id: str = Field(min_length=1, description="The name by which clients ask for the model.")
    hf_model_id: str | None = Field(
        default=None, description="The model's id on the Hugging Face Hub, or a path; model_id when absent."
    )
    tokenizer_id: str | None = Field(default=None, description="A tokenizer on the Hugging Face Hub.")
    type: AnyEngine = Field(default="VLLMEngine", description="The inference engine.")
    model_type: str | None = Field(
        default=None, description="text-generation or embedding; for TRTLLMEngine its kind of batching."
    )
    model_url: str | None = Field(default=None, description="A page about the model.")
    model_description: str | None = Field(default=None, description="A sentence about the model.")
    engine_kwargs: PortableMap | None = Field(default=None, description="Arguments for the engine.")
    max_total_tokens: int | None = Field(
        default=None, ge=1, description="The longest prompt and answer together, in tokens."
    )
    runtime_env: RuntimeEnv | None = Field(
        default=None, description="Ray's runtime environment: env_vars, pip and so on."
    )
    env_vars_to_propogate: list[str] | None = Field(
        default=None, description="Variables of Ray's driver that its workers get too (spelled as in the registry)."
    )
    s3_mirror_config: S3Mirror | None = Field(default=None, description="Weights in S3 instead of the Hub.")
    gcs_mirror_config: GcsMirror | None = Field(
        default=None, description="Weights in Google Cloud Storage instead of the Hub."
    )
    generation: Generation | None = Field(default=None, description="Default generation parameters.")
    model_local_path: str | None = Field(default=None, description="TRTLLMEngine: the built engine's directory.")
    scheduler_policy: SchedulerPolicy | None = Field(
        default=None, description="TRTLLMEngine: which requests get memory first."
    )
    logger_level: LoggerLevel | None = Field(default=None, description="TRTLLMEngine: the engine's log level.")
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
    batch_wait_timeout_s: float | None = Field(
        default=None, ge=0, description="EmbeddingEngine: how many seconds a batch waits to fill up."
    )
    optimize: Optimize | None = Field(default=None, description="EmbeddingEngine: run as ONNX.")


class ScalingConfig(Document):
    """What one replica occupies."""

    num_workers: int | None = Field(default=None, ge=1, description="Workers (GPUs) per replica; 1 when absent.")
    num_gpus_per_worker: float | None = Field(
        default=None, ge=0, le=1, description="GPUs per worker, at most 1: for more GPUs raise num_workers."
    )
    num_cpus_per_worker: float | None = Field(default=None, ge=0, le=4096, description="CPU cores per worker.")
    placement_strategy: PlacementStrategy | None = Field(
        default=None, description="How workers are spread over nodes; STRICT_PACK: all on one."
    )
    resources_per_worker: dict[str, float] | None = Field(
        default=None, description="Ray custom resources per worker, as accelerator_type_a10: 0.01."
    )
    pg_timeout_s: float | None = Field(
        default=None, gt=0, description="How many seconds Ray waits for a placement group."
    )


class LLMApp(Document):
    """A whole file of the model registry."""

    enabled: bool = Field(default=True, description="When false the model is not loaded.")
    deployment_config: DeploymentConfig | None = Field(default=None, description="Ray Serve's settings.")
    engine_config: EngineConfig = Field(description="The model, its engine and where its weights are.")
    scaling_config: ScalingConfig | None = Field(default=None, description="What one replica occupies.")
    multiplex_config: PortableMap | None = Field(
        default=None, description="Ray Serve's model multiplexing, as max_num_models_per_replica."
    )
