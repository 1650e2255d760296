"""Today's `ray.serve.llm` document: `LLMConfig`, and the forms of file that it comes in.

What Headrace understands is typed; what only Ray knows is kept as it is. As everywhere a key that is absent or null
has its documented default, and this module fills in none.
"""

from typing import Any, Literal

from pydantic import Field, StrictStr, model_validator

from headrace_api.base import Document
from headrace_api.portable import Portable, PortableMap
from headrace_api.worker_config import AnyEngine, ExtraFiles, RuntimeEnv


class CloudMirror(Document):
    """A bucket with the model's files."""

    bucket_uri: str | None = Field(
        default=None,
        pattern=r"^(s3://|gs://|abfss://|azure://|pyarrow-)",
        description="s3://, gs://, abfss:// or azure:// and the folder with the model's files.",
    )
    extra_files: list[ExtraFiles] | None = Field(default=None, description="Folders that are fetched beside them.")


class ModelLoadingConfig(Document):
    """The model's name and where its files are."""

    model_id: str = Field(min_length=1, description="The name by which clients ask for the model.")
    model_source: StrictStr | CloudMirror | None = Field(
        default=None, description="A Hugging Face id, a path, or a bucket; model_id when absent."
    )
    tokenizer_source: str | None = Field(default=None, description="A tokenizer on the Hugging Face Hub.")


class AutoscalingConfig(Document):
    """Ray Serve's autoscaling."""

    min_replicas: int | None = Field(default=None, ge=0, description="The fewest replicas; 1 when absent.")
    initial_replicas: int | None = Field(
        default=None, ge=0, description="Replicas to begin with; min_replicas when absent."
    )
    max_replicas: int | None = Field(
        default=None, ge=1, description="The most replicas; 1 when absent, 100 with num_replicas: auto."
    )
    target_ongoing_requests: float | None = Field(
        default=None, gt=0, description="Requests, waiting and running, that one replica shall have; 2 when absent."
    )
    metrics_interval_s: float | None = Field(
        default=None, gt=0, description="How often requests are counted, in seconds; 10 when absent."
    )
    look_back_period_s: float | None = Field(
        default=None, gt=0, description="Over how many seconds the count is averaged; 30 when absent."
    )
    smoothing_factor: float | None = Field(default=None, gt=0, description="An older name for both factors; 1.")
    upscale_smoothing_factor: float | None = Field(default=None, gt=0, description="An older upscaling_factor.")
    downscale_smoothing_factor: float | None = Field(default=None, gt=0, description="An older downscaling_factor.")
    upscaling_factor: float | None = Field(
        default=None, gt=0, description="How much of the gap one decision for more closes; 1 when absent."
    )
    downscaling_factor: float | None = Field(
        default=None, gt=0, description="How much of the gap one decision for fewer closes; 1 when absent."
    )
    downscale_delay_s: float | None = Field(
        default=None, ge=0, description="How many seconds a decision for fewer must hold; 600 when absent."
    )
    downscale_to_zero_delay_s: float | None = Field(
        default=None, ge=0, description="The same for the last replica; downscale_delay_s when absent."
    )
    upscale_delay_s: float | None = Field(
        default=None, ge=0, description="How many seconds a decision for more must hold; 30 when absent."
    )
    aggregation_function: str | None = Field(default=None, description="How counts are put together, Ray's word.")
    policy: PortableMap | None = Field(default=None, description="A policy of one's own, Ray's words.")


class DeploymentConfig(Document):
    """Ray Serve's options of a deployment."""

    name: str | None = Field(default=None, description="The deployment's name in Ray Serve.")
    num_replicas: Literal["auto"] | int | None = Field(
        default=None, description="Replicas, or auto for autoscaling with Ray's defaults; 1 when absent."
    )
    max_ongoing_requests: int | None = Field(
        default=None, ge=1, description="Requests that one replica takes at a time."
    )
    autoscaling_config: AutoscalingConfig | None = Field(
        default=None, description="When replicas come and go; excludes a number in num_replicas."
    )
    ray_actor_options: PortableMap | None = Field(default=None, description="Ray's options of the actor.")
    max_queued_requests: int | None = Field(default=None, description="Requests that wait at a proxy; -1: all.")
    max_replicas_per_node: int | None = Field(default=None, ge=1, description="The most replicas on one node.")
    user_config: Portable = Field(default=None, description="Ray Serve's user_config.")
    health_check_period_s: float | None = Field(default=None, description="Seconds between health checks.")
    health_check_timeout_s: float | None = Field(default=None, description="Seconds that a health check may take.")
    graceful_shutdown_wait_loop_s: float | None = Field(default=None, description="Seconds between looks for idleness.")
    graceful_shutdown_timeout_s: float | None = Field(default=None, description="Seconds before a replica is killed.")
    logging_config: PortableMap | None = Field(default=None, description="Ray Serve's logging.")
    request_router_config: PortableMap | None = Field(default=None, description="Ray Serve's request router.")

    @model_validator(mode="after")
    def _one_way_to_count(self) -> "DeploymentConfig":
        if isinstance(self.num_replicas, int) and self.num_replicas < 0:
            raise ValueError(f"num_replicas is {self.num_replicas}: it is auto, or at least 0")
        if isinstance(self.num_replicas, int) and self.autoscaling_config is not None:
            raise ValueError("num_replicas is a number although autoscaling_config is there: give one of the two")
        return self


class LLMConfig(Document):
    """One model of `ray.serve.llm`."""

    runtime_env: RuntimeEnv | None = Field(default=None, description="Ray's runtime environment.")
    model_loading_config: ModelLoadingConfig = Field(description="The model's name and where its files are.")
    llm_engine: Literal["vLLM"] | AnyEngine = Field(
        default="vLLM", description="The engine; Ray itself knows vLLM only, the others are Headrace's names."
    )
    engine_kwargs: PortableMap | None = Field(default=None, description="Arguments for the engine.")
    accelerator_type: str | None = Field(default=None, description="The kind of GPU, in Ray's names: L4, A10G, H100.")
    placement_group_config: PortableMap | None = Field(
        default=None, description="Ray's placement group: bundles or bundle_per_worker, and strategy."
    )
    lora_config: PortableMap | None = Field(default=None, description="LoRA adapters, in Ray's words.")
    deployment_config: DeploymentConfig | None = Field(default=None, description="Ray Serve's options.")
    experimental_configs: PortableMap | None = Field(default=None, description="Ray's experiments.")
    log_engine_metrics: bool = Field(default=True, description="Engine metrics on Ray's port.")
    callback_config: PortableMap | None = Field(default=None, description="Code that runs while the model loads.")


class NoLLMConfigError(ValueError):
    """The YAML document holds no LLMConfig; the message says which forms are accepted."""


def llm_configs(document: Any) -> list[dict[str, Any]]:
    """The LLMConfigs of a loaded YAML document, each still unchecked.

    Accepted: one LLMConfig; a list of them; a Serve config file, whose `applications` have them under
    `args.llm_configs` (or one under `args.llm_config`).

    Raises:
        NoLLMConfigError: there is none, or one is only the path of another file.
    """
    if isinstance(document, list):
        return [_config(item, f"[{at}]") for at, item in enumerate(document)]
    if isinstance(document, dict) and "applications" in document:
        return _of_applications(document["applications"])
    return [_config(document, "the document")]


def _of_applications(applications: Any) -> list[dict[str, Any]]:
    if not isinstance(applications, list):
        raise NoLLMConfigError("applications: a Serve config file has a list here")
    found = []
    for at, application in enumerate(applications):
        args = application.get("args") if isinstance(application, dict) else None
        for key, where in ((key, f"applications[{at}].args.{key}") for key in ("llm_configs", "llm_config")):
            given = args.get(key, []) if isinstance(args, dict) else []
            given = given if isinstance(given, list) else [given]
            found += [_config(item, f"{where}[{number}]") for number, item in enumerate(given)]
    if not found:
        raise NoLLMConfigError("applications: none has args.llm_configs, where LLMConfigs are expected")
    return found


def _config(item: Any, where: str) -> dict[str, Any]:
    if isinstance(item, str):
        raise NoLLMConfigError(f"{where} is the path {item!r} of another file: give that file itself")
    if not isinstance(item, dict) or "model_loading_config" not in item:
        raise NoLLMConfigError(f"{where} is no LLMConfig: a map with model_loading_config is expected")
    return item
