"""The model registry's document and the spec, both ways."""

from typing import Any

from headrace_api.convert.imported import Imported, LeftOut
from headrace_api.convert.places import Places, Tree, complete, inverse, move, put, stated, without_place
from headrace_api.inference_model import InferenceModelSpec
from headrace_api.registry import LLMApp

_AUTOSCALING: Places = (
    ("min_replicas", "min_replicas"),
    ("initial_replicas", "initial_replicas"),
    ("max_replicas", "max_replicas"),
    ("target_num_ongoing_requests_per_replica", "target_ongoing_requests_per_replica"),
    ("metrics_interval_s", "metrics_interval_seconds"),
    ("look_back_period_s", "look_back_period_seconds"),
    ("smoothing_factor", "smoothing_factor"),
    ("upscale_smoothing_factor", "upscale_smoothing_factor"),
    ("downscale_smoothing_factor", "downscale_smoothing_factor"),
    ("downscale_delay_s", "downscale_delay_seconds"),
    ("upscale_delay_s", "upscale_delay_seconds"),
)
_ENGINE: Places = (
    ("model_id", "engine.model_id"),
    ("hf_model_id", "engine.hf_model_id"),
    ("tokenizer_id", "engine.tokenizer_id"),
    ("type", "engine.type"),
    ("model_type", "engine.model_type"),
    ("model_url", "engine.model_url"),
    ("model_description", "engine.model_description"),
    ("engine_kwargs", "engine.engine_kwargs"),
    ("max_total_tokens", "engine.max_total_tokens"),
    ("runtime_env", "engine.runtime_env"),
    ("env_vars_to_propogate", "ray.env_vars_to_propagate"),
    ("s3_mirror_config", "engine.s3_mirror"),
    ("gcs_mirror_config", "engine.gcs_mirror"),
    ("generation", "engine.generation"),
    ("model_local_path", "engine.model_local_path"),
    ("scheduler_policy", "engine.scheduler_policy"),
    ("logger_level", "engine.logger_level"),
    ("max_num_sequences", "engine.max_num_sequences"),
    ("max_tokens_in_paged_kv_cache", "engine.max_tokens_in_paged_kv_cache"),
    ("kv_cache_free_gpu_mem_fraction", "engine.kv_cache_free_gpu_mem_fraction"),
    ("enable_trt_overlap", "engine.enable_trt_overlap"),
    ("max_batch_size", "engine.max_batch_size"),
    ("batch_wait_timeout_s", "engine.batch_wait_timeout_seconds"),
    ("optimize", "engine.optimize"),
)
_SCALING: Places = (
    ("num_workers", "scaling.num_workers"),
    ("num_gpus_per_worker", "scaling.num_gpus_per_worker"),
    ("num_cpus_per_worker", "scaling.num_cpus_per_worker"),
    ("placement_strategy", "scaling.placement_strategy"),
    ("resources_per_worker", "scaling.resources_per_worker"),
    ("pg_timeout_s", "scaling.pg_timeout_seconds"),
)
_PLACES: Places = (
    ("enabled", "enabled"),
    *(
        (f"deployment_config.autoscaling_config.{theirs}", f"deployment.autoscaling.{ours}")
        for theirs, ours in _AUTOSCALING
    ),
    ("deployment_config.max_concurrent_queries", "deployment.max_concurrent_queries"),
    ("deployment_config.ray_actor_options", "deployment.ray_actor_options"),
    *((f"engine_config.{theirs}", ours) for theirs, ours in _ENGINE),
    *((f"scaling_config.{theirs}", ours) for theirs, ours in _SCALING),
    ("multiplex_config", "ray.multiplex_config"),
)
"""In the registry's order of keys."""

_STAGES, _TENSOR = "pipeline_parallel_size", "tensor_parallel_size"
ORIGINS: Places = (
    *_PLACES,
    ("deployment_config.autoscaling_config.initial_replicas", "replicas"),
    ("deployment_config.autoscaling_config.min_replicas", "replicas"),
    (f"engine_config.engine_kwargs.{_STAGES}", f"engine.{_STAGES}"),
)
"""Where the file says what a field of the spec says; more than `_PLACES` by what is not only moved."""


def to_spec(doc: LLMApp) -> Imported:
    """The spec of a registry file; every key of it has a place."""
    spec = move(stated(doc), _PLACES)
    spec["engine"].setdefault("type", doc.engine_config.type)
    put(spec, "ray.dialect", "registry")
    scaler = doc.deployment_config and doc.deployment_config.autoscaling_config
    if scaler:
        spec.setdefault("deployment", {}).setdefault("autoscaling", {})
        put(spec, "replicas", _first_of(scaler.initial_replicas, scaler.min_replicas, 1))
    _take_stages(spec["engine"])
    left_out = _drop_tensor_size(spec)
    return Imported(InferenceModelSpec.model_validate(spec), left_out)


def _first_of(*candidates: int | None) -> int:
    return next(candidate for candidate in candidates if candidate is not None)


def _take_stages(engine: Tree) -> None:
    """Pipeline stages are an engine argument in the registry and a field of the spec; 1 may stay where it is."""
    stages = engine.get("engine_kwargs", {}).get(_STAGES)
    if isinstance(stages, int) and stages > 1:
        engine["engine_kwargs"] = {key: value for key, value in engine["engine_kwargs"].items() if key != _STAGES}
        engine[_STAGES] = stages


def _drop_tensor_size(spec: Tree) -> tuple[LeftOut, ...]:
    """The tensor parallel size follows from num_workers; where the file says the same once more, once is enough."""
    engine = spec["engine"]
    size = engine.get("engine_kwargs", {}).get(_TENSOR)
    workers = spec.get("scaling", {}).get("num_workers", 1)
    if not isinstance(size, int) or size * engine.get(_STAGES, 1) != workers:
        return ()  # the rules say what is wrong with it
    engine["engine_kwargs"] = {key: value for key, value in engine["engine_kwargs"].items() if key != _TENSOR}
    return (LeftOut(f"engine_config.engine_kwargs.{_TENSOR}", "scaling_config.num_workers says the same"),)


def from_spec(spec: InferenceModelSpec) -> dict[str, Any]:
    """The registry's document, keys in the registry's order, defaults written out."""
    sections: Tree = {"enabled": True, "deployment_config": {}, "engine_config": {}, "scaling_config": {}}
    document = sections | move(complete(spec), inverse(_PLACES))
    engine, scaling = document["engine_config"], document["scaling_config"]
    engine.setdefault("model_id", spec.model_name)
    if spec.engine.pipeline_parallel_size > 1:
        engine["engine_kwargs"] = {**engine["engine_kwargs"], _STAGES: spec.engine.pipeline_parallel_size}
    if spec.engine.type == "LlamaCppEngine":
        scaling.setdefault("num_gpus_per_worker", 0)  # the registry's own default is 1
    if spec.deployment.autoscaling is None and spec.replicas != 1:
        fixed = {
            "min_replicas": spec.replicas,
            "initial_replicas": spec.replicas,
            "max_replicas": max(spec.replicas, 1),
        }
        document["deployment_config"] = {"autoscaling_config": fixed, **document["deployment_config"]}
    return document


def not_exported(spec: InferenceModelSpec) -> tuple[LeftOut, ...]:
    """What the spec says and a registry file cannot."""
    derived = ("replicas", f"engine.{_STAGES}", "ray.dialect", "deployment.autoscaling")
    known = (*(ours for _, ours in _PLACES), *derived)
    return without_place(spec, known, "the model registry has no key for it")
