"""Today's `ray.serve.llm` LLMConfig and the spec, both ways.

What Headrace has a field for goes there; all else is kept verbatim in `spec.ray`, so that the LLMConfig which is made
of the spec says the same as the one that was imported.
"""

from typing import Any

from headrace_api.convert.imported import Imported, LeftOut
from headrace_api.convert.places import Places, Tree, complete, inverse, move, put, stated, without_place
from headrace_api.convert.ray_bundles import from_scaling, occupied, to_scaling
from headrace_api.inference_model import InferenceModelSpec
from headrace_api.ray_serve_llm import LLMConfig

_RAY = ("accelerator_type", "lora_config", "experimental_configs", "callback_config", "log_engine_metrics")
_PLACES: Places = (
    ("model_loading_config.model_id", "engine.model_id"),
    ("model_loading_config.tokenizer_source", "engine.tokenizer_id"),
    ("engine_kwargs", "engine.engine_kwargs"),
    ("runtime_env", "engine.runtime_env"),
    *((name, f"ray.{name}") for name in _RAY),
)
_AUTOSCALING: Places = (
    ("min_replicas", "min_replicas"),
    ("initial_replicas", "initial_replicas"),
    ("max_replicas", "max_replicas"),
    ("target_ongoing_requests", "target_ongoing_requests_per_replica"),
    ("metrics_interval_s", "metrics_interval_seconds"),
    ("look_back_period_s", "look_back_period_seconds"),
    ("smoothing_factor", "smoothing_factor"),
    ("upscaling_factor", "upscale_smoothing_factor"),
    ("downscaling_factor", "downscale_smoothing_factor"),
    ("downscale_delay_s", "downscale_delay_seconds"),
    ("upscale_delay_s", "upscale_delay_seconds"),
)
_DEPLOYMENT: Places = (
    ("max_ongoing_requests", "max_concurrent_queries"),
    ("ray_actor_options", "ray_actor_options"),
)
_TARGET = 2.0
"""Ray Serve's default of target_ongoing_requests; the registry's, which is the spec's, is 1."""
_AUTO_MOST = 100
"""Ray Serve's max_replicas with `num_replicas: auto`."""
_VLLM = "vLLM"
_SMOOTHING = "smoothing_factor"
_SCALER = "deployment_config.autoscaling_config"
ORIGINS: Places = (
    *_PLACES,
    ("llm_engine", "engine.type"),
    ("model_loading_config.model_source", "engine.hf_model_id"),
    ("model_loading_config.model_source", "engine.s3_mirror"),
    ("model_loading_config.model_source", "engine.gcs_mirror"),
    ("model_loading_config.model_source", "ray.model_source"),
    ("engine_kwargs.tensor_parallel_size", "scaling.num_workers"),
    ("engine_kwargs.pipeline_parallel_size", "scaling.num_workers"),
    ("engine_kwargs.pipeline_parallel_size", "engine.pipeline_parallel_size"),
    ("engine_kwargs.max_model_len", "engine.max_total_tokens"),
    *(("placement_group_config", place) for place in ("scaling", "ray.placement_group_config")),
    *((f"{_SCALER}.{theirs}", f"deployment.autoscaling.{ours}") for theirs, ours in _AUTOSCALING),
    *((f"deployment_config.{theirs}", f"deployment.{ours}") for theirs, ours in _DEPLOYMENT),
    ("deployment_config.num_replicas", "replicas"),
    (f"{_SCALER}.initial_replicas", "replicas"),
    (f"{_SCALER}.min_replicas", "replicas"),
    ("deployment_config", "ray.deployment_config"),
)
"""Where the file says what a field of the spec says; more than `_PLACES` by what is not only moved."""


def to_spec(doc: LLMConfig) -> Imported:
    """The spec of an LLMConfig; every key of it has a place."""
    config = stated(doc)
    spec = move(config, _PLACES)
    put(spec, "engine.type", "VLLMEngine" if doc.llm_engine == _VLLM else doc.llm_engine)
    put(spec, "ray.dialect", "ray-serve-llm")
    _take_source(spec, config["model_loading_config"].get("model_source"))
    workers = _take_arguments(spec)
    _take_placement(spec, config.get("placement_group_config"), workers)
    _take_deployment(spec, config.get("deployment_config", {}))
    return Imported(InferenceModelSpec.model_validate(spec))


def _take_source(spec: Tree, source: str | Tree | None) -> None:
    if isinstance(source, str):
        put(spec, "engine.hf_model_id", source)
    elif isinstance(source, dict):
        uri = source.get("bucket_uri", "s3://")
        kinds = {"s3": "engine.s3_mirror", "gs": "engine.gcs_mirror"}
        put(spec, kinds.get(uri.split(":")[0], "ray.model_source"), source)


def _take_arguments(spec: Tree) -> int:
    """The engine arguments that are fields of the spec; the number of workers. Other kinds of value stay there."""
    arguments = spec["engine"].get("engine_kwargs", {})
    taken = {
        name: arguments[name]
        for name in ("tensor_parallel_size", "pipeline_parallel_size", "max_model_len")
        if type(arguments.get(name)) is int and arguments[name] >= 1
    }
    if taken:
        spec["engine"]["engine_kwargs"] = {name: value for name, value in arguments.items() if name not in taken}
    stages = taken.get("pipeline_parallel_size", 1)
    workers = stages * taken.get("tensor_parallel_size", 1)
    for path, value in (("engine.pipeline_parallel_size", stages), ("scaling.num_workers", workers)):
        if value != 1:
            put(spec, path, value)
    if "max_model_len" in taken:
        put(spec, "engine.max_total_tokens", taken["max_model_len"])
    return int(workers)


def _take_placement(spec: Tree, group: Tree | None, workers: int) -> None:
    if group is None:
        return
    scaling = to_scaling(group, workers)
    if scaling is None:
        put(spec, "ray.placement_group_config", group)
        scaling = occupied(group)
    if scaling:
        spec["scaling"] = spec.get("scaling", {}) | scaling


def _take_deployment(spec: Tree, given: Tree) -> None:
    rest = {key: value for key, value in given.items() if key not in dict(_DEPLOYMENT)}
    deployment = move(given, _DEPLOYMENT)
    replicas = rest.get("num_replicas", 1)
    scaler = rest.pop("autoscaling_config", {} if replicas == "auto" else None)
    if scaler is None:
        put(spec, "replicas", rest.pop("num_replicas", 1))
    else:
        deployment["autoscaling"], unknown = _autoscaling(scaler, auto=replicas == "auto")
        put(spec, "replicas", scaler.get("initial_replicas", scaler.get("min_replicas", 1)))
        rest |= {"autoscaling_config": unknown} if unknown else {}
    if deployment:
        spec["deployment"] = deployment
    if rest:
        put(spec, "ray.deployment_config", rest)


def _autoscaling(given: Tree, *, auto: bool) -> tuple[Tree, Tree]:
    """The spec's autoscaling, with Ray's defaults where they are not the spec's; and what it has no field for."""
    ours = move(given, _AUTOSCALING)
    ours.setdefault("target_ongoing_requests_per_replica", _TARGET)
    if auto:
        ours.setdefault("max_replicas", _AUTO_MOST)
    unknown = {key: value for key, value in given.items() if key not in dict(_AUTOSCALING)}
    if given.get(_SMOOTHING) == 1:
        unknown[_SMOOTHING] = given[_SMOOTHING]  # which `from_spec` does not write out
    return ours, unknown


def from_spec(spec: InferenceModelSpec) -> dict[str, Any]:
    """The LLMConfig of a spec, defaults written out."""
    whole = complete(spec)
    config: Tree = {"model_loading_config": {"model_id": spec.model_name}}
    config["llm_engine"] = _VLLM if spec.engine.type == "VLLMEngine" else spec.engine.type
    moved = move(whole, inverse(_PLACES))
    config["model_loading_config"] |= moved.pop("model_loading_config", {})
    if (source := _source(whole)) is not None:
        config["model_loading_config"]["model_source"] = source
    config |= moved
    config["engine_kwargs"] = _arguments(spec) | moved["engine_kwargs"]
    group = whole["ray"].get("placement_group_config")
    if group is None:
        group = from_scaling(whole["scaling"], spec.scaling.num_workers)
    if group is not None:
        config["placement_group_config"] = group
    config["deployment_config"] = _deployment(spec, whole)
    return config


def _source(whole: Tree) -> Any:
    engine = whole["engine"]
    if (other := whole["ray"].get("model_source")) is not None:
        return other
    mirror = engine.get("s3_mirror", engine.get("gcs_mirror"))
    if mirror is None:
        return engine.get("hf_model_id")
    return {key: value for key, value in mirror.items() if key in {"bucket_uri", "extra_files"}}


def _arguments(spec: InferenceModelSpec) -> Tree:
    stages = spec.engine.pipeline_parallel_size
    arguments = {"tensor_parallel_size": spec.scaling.num_workers // stages, "pipeline_parallel_size": stages}
    if spec.engine.max_total_tokens is not None:
        arguments["max_model_len"] = spec.engine.max_total_tokens
    return arguments


def _deployment(spec: InferenceModelSpec, whole: Tree) -> Tree:
    verbatim = whole["ray"].get("deployment_config", {})
    config = move(whole["deployment"], inverse(_DEPLOYMENT))
    if spec.deployment.autoscaling is None:
        return {"num_replicas": spec.replicas, **config, **verbatim}
    scaler = move(whole["deployment"]["autoscaling"], inverse(_AUTOSCALING))
    if spec.deployment.autoscaling.smoothing_factor == 1:
        del scaler[_SMOOTHING]  # Ray of today has the two factors only
    return {**config, **verbatim, "autoscaling_config": scaler | verbatim.get("autoscaling_config", {})}


def not_exported(spec: InferenceModelSpec) -> tuple[LeftOut, ...]:
    """What the spec says and an LLMConfig cannot."""
    engine = ("type", "hf_model_id", "s3_mirror", "gcs_mirror", "max_total_tokens", "pipeline_parallel_size")
    known = (
        *(ours for _, ours in _PLACES),
        *(f"engine.{name}" for name in engine),
        *("replicas", "deployment", "scaling.num_workers", "scaling.num_gpus_per_worker"),
        *("scaling.num_cpus_per_worker", "scaling.resources_per_worker", "scaling.placement_strategy"),
        *("ray.dialect", "ray.model_source", "ray.placement_group_config", "ray.deployment_config"),
    )
    return without_place(spec, known, "an LLMConfig has no key for it")
