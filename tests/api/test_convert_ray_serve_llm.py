"""Any valid LLMConfig of `ray.serve.llm` is the same after it was a resource."""

import pytest
import values as v
import yaml
from api_server import stored
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from headrace_api.convert import ray_serve_llm
from headrace_api.inference_model import InferenceModelSpec
from headrace_api.ray_serve_llm import LLMConfig, NoLLMConfigError, llm_configs
from headrace_operator.render import ray_yaml

amounts = st.one_of(st.integers(0, 4), st.floats(0, 4))
bundles = st.dictionaries(st.sampled_from(["GPU", "CPU", "accelerator_type_a10"]), amounts, max_size=3)
strategies = st.sampled_from(["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"])
autoscaling = v.some(
    min_replicas=st.integers(0, 9),
    initial_replicas=st.none() | st.integers(0, 9),
    max_replicas=st.integers(1, 9),
    target_ongoing_requests=v.targets,
    metrics_interval_s=v.periods,
    look_back_period_s=v.periods,
    smoothing_factor=v.factors,
    upscale_smoothing_factor=v.factors,
    downscale_smoothing_factor=v.factors,
    upscaling_factor=v.factors,
    downscaling_factor=v.factors,
    upscale_delay_s=v.delays,
    downscale_delay_s=v.delays,
    downscale_to_zero_delay_s=v.delays,
    aggregation_function=st.just("mean"),
    policy=v.yaml_maps,
)
options = {
    "name": v.words,
    "max_ongoing_requests": v.counts,
    "ray_actor_options": v.yaml_maps,
    "max_queued_requests": st.integers(-1, 100),
    "max_replicas_per_node": st.integers(1, 9),
    "user_config": v.yaml_maps,
    "health_check_period_s": v.positive,
    "graceful_shutdown_timeout_s": v.positive,
    "logging_config": v.yaml_maps,
    "request_router_config": v.yaml_maps,
}
deployments = st.one_of(
    v.some(**options, num_replicas=st.none() | st.integers(0, 9)),
    v.some({"autoscaling_config": autoscaling}, **options, num_replicas=st.just("auto")),
    v.some({"num_replicas": st.just("auto")}, **options),
)
arguments = st.builds(
    lambda some, free: free | some,
    v.some(
        tensor_parallel_size=st.integers(1, 4) | st.sampled_from(["2", None, True]),
        pipeline_parallel_size=st.integers(1, 3),
        max_model_len=v.counts | st.sampled_from([None, "16k", -1]),
    ),
    v.yaml_maps,
)


@st.composite
def files(draw):
    """LLMConfigs; some of their placement groups are made to fit the number of workers."""
    file = draw(
        v.some(
            {
                "model_loading_config": v.some(
                    {"model_id": v.names},
                    model_source=st.one_of(
                        st.none(),
                        v.names,
                        v.some(
                            bucket_uri=st.sampled_from(["s3://b/x", "gs://b/x", "azure://b/x", "abfss://b/x"]),
                            extra_files=v.extra_files,
                        ),
                    ),
                    tokenizer_source=v.names,
                )
            },
            runtime_env=st.none() | v.some(env_vars=v.environments, pip=st.lists(v.words)),
            llm_engine=st.just("vLLM"),
            engine_kwargs=arguments,
            accelerator_type=st.sampled_from(["L4", "A10G", "H100"]),
            lora_config=v.yaml_maps,
            deployment_config=st.none() | deployments,
            experimental_configs=v.yaml_maps,
            log_engine_metrics=st.booleans(),
            callback_config=v.yaml_maps,
        )
    )
    kind = draw(st.sampled_from(["none", "workers", "each", "any", "empty"]))
    if kind != "none":
        sizes = [file.get("engine_kwargs", {}).get(f"{axis}_parallel_size", 1) for axis in ("tensor", "pipeline")]
        workers = sizes[0] * sizes[1] if all(type(size) is int for size in sizes) else 1
        same = st.builds(lambda bundle: {"bundles": [dict(bundle) for _ in range(workers)]}, bundles)
        each = st.builds(lambda bundle: {"bundle_per_worker": bundle}, bundles)
        groups = {
            "workers": same,
            "each": each,
            "any": v.some(bundles=st.lists(bundles, max_size=3)),
            "empty": st.just({}),
        }
        strategy = draw(st.just({}) | st.builds(lambda word: {"strategy": word}, strategies))
        file["placement_group_config"] = draw(groups[kind]) | strategy
    return file


RAYS_AUTOSCALING = {
    "min_replicas": 1,
    "max_replicas": 1,
    "target_ongoing_requests": 2.0,
    "metrics_interval_s": 10.0,
    "look_back_period_s": 30.0,
    "upscale_delay_s": 30.0,
    "downscale_delay_s": 600.0,
}
"""Ray Serve's documented defaults."""


def with_defaults(file):
    always = {
        "llm_engine": "vLLM",
        "engine_kwargs": {},
        "runtime_env": {"env_vars": {}},
        "deployment_config": {"ray_actor_options": {}},
    }
    out = v.filled(file, always, {"model_loading_config": {}, "model_source": {"extra_files": []}})
    if (uri := bucket(file)) and not uri.startswith(("s3:", "gs:")):
        out["model_loading_config"]["model_source"] = file["model_loading_config"]["model_source"]
    out["engine_kwargs"] = {"tensor_parallel_size": 1, "pipeline_parallel_size": 1} | out["engine_kwargs"]
    deployment = out["deployment_config"]
    auto = deployment.get("num_replicas") == "auto"
    if auto or "autoscaling_config" in deployment:
        known = RAYS_AUTOSCALING | ({"max_replicas": 100} if auto else {})
        deployment["autoscaling_config"] = v.filled(deployment.get("autoscaling_config", {}), known)
    else:
        deployment.setdefault("num_replicas", 1)
    return out


def bucket(file):
    source = file["model_loading_config"].get("model_source")
    return source.get("bucket_uri") if isinstance(source, dict) else None


@pytest.mark.slow
@given(files())
def test_a_config_is_the_same_after_it_was_a_resource(file):
    (config,) = llm_configs(yaml.safe_load(yaml.safe_dump(file, allow_unicode=True)))
    imported = ray_serve_llm.to_spec(LLMConfig.model_validate(config))
    assert imported.left_out == ()
    rendered = yaml.safe_load(ray_yaml.to_yaml(ray_yaml.document(stored(imported.spec))))
    assert rendered == with_defaults(file)
    assert LLMConfig.model_validate(rendered)


@pytest.mark.slow
@given(files())
def test_export_of_an_import_is_the_config_and_loses_nothing(file):
    spec = ray_serve_llm.to_spec(LLMConfig.model_validate(file)).spec
    assert ray_serve_llm.from_spec(spec) == with_defaults(file)
    assert ray_serve_llm.not_exported(spec) == ()


def test_parallel_sizes_and_bundles_become_workers():
    file = {
        "model_loading_config": {"model_id": "m", "model_source": {"bucket_uri": "gs://b/m"}},
        "engine_kwargs": {"tensor_parallel_size": 4, "pipeline_parallel_size": 2, "max_model_len": 4096},
        "placement_group_config": {"bundles": [{"GPU": 1, "CPU": 2}] * 8, "strategy": "SPREAD"},
        "deployment_config": {"num_replicas": 3, "max_ongoing_requests": 64},
    }
    spec = ray_serve_llm.to_spec(LLMConfig.model_validate(file)).spec
    assert (spec.scaling.num_workers, spec.engine.pipeline_parallel_size) == (8, 2)
    assert (spec.scaling.num_gpus_per_worker, spec.scaling.num_cpus_per_worker) == (1, 2)
    assert (spec.gpus, spec.scaling.placement_strategy) == (8, "SPREAD")
    assert (spec.replicas, spec.deployment.max_concurrent_queries) == (3, 64)
    assert spec.engine.max_total_tokens == 4096
    assert spec.engine.gcs_mirror.bucket_uri == "gs://b/m"
    assert spec.ray.model_dump(exclude_none=True) == {"dialect": "ray-serve-llm"}


def test_bundles_that_are_not_workers_are_kept_as_they_are():
    group = {"bundles": [{"CPU": 1}, {"CPU": 2}]}
    file = {"model_loading_config": {"model_id": "m"}, "placement_group_config": group}
    spec = ray_serve_llm.to_spec(LLMConfig.model_validate(file)).spec
    assert spec.ray.placement_group_config == group
    assert spec.gpus == 0


def test_a_bundle_per_worker_is_kept_and_counts():
    group = {"bundle_per_worker": {"CPU": 4, "GPU": 0.5}, "strategy": "PACK"}
    file = {
        "model_loading_config": {"model_id": "m"},
        "engine_kwargs": {"tensor_parallel_size": 2},
        "placement_group_config": group,
    }
    spec = ray_serve_llm.to_spec(LLMConfig.model_validate(file)).spec
    assert (spec.gpus, spec.scaling.num_cpus_per_worker) == (1, 4)
    assert ray_serve_llm.from_spec(spec)["placement_group_config"] == group


def test_what_an_llm_config_cannot_say_is_named():
    spec = {
        "enabled": False,
        "engine": {"type": "VLLMEngine", "modelId": "m", "generation": {"stoppingSequences": ["x"]}},
    }
    names = [left.key for left in ray_serve_llm.not_exported(InferenceModelSpec.model_validate(spec))]
    assert names == ["spec.enabled", "spec.engine.generation.stoppingSequences"]


ONE = {"model_loading_config": {"model_id": "m"}}


@pytest.mark.parametrize(
    ("document", "count"),
    [
        (ONE, 1),
        ([ONE, ONE], 2),
        ({"applications": [{"args": {"llm_configs": [ONE, ONE]}}, {"args": {"llm_configs": [ONE]}}]}, 3),
        ({"applications": [{"import_path": "other:app"}, {"args": {"llm_config": ONE}}]}, 1),
    ],
)
def test_configs_are_found_in_every_form_of_file(document, count):
    assert llm_configs(document) == [ONE] * count


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"applications": [{"args": {"llm_configs": ["models/m.yaml"]}}]}, r"llm_configs\[0\] is the path 'models/m"),
        ({"applications": [{"args": {}}]}, r"none has args\.llm_configs"),
        ({"applications": None}, "has a list here"),
        ({"engine_config": {}}, "map with model_loading_config"),
        ([1], r"\[0\] is no LLMConfig"),
        (None, "no LLMConfig"),
    ],
)
def test_other_files_are_refused(document, message):
    with pytest.raises(NoLLMConfigError, match=message):
        llm_configs(document)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"llm_engine": "vllm"}, "llm_engine"),
        ({"engine_kwarg": {}}, "engine_kwarg"),
        ({"deployment_config": {"num_replicas": 2, "autoscaling_config": {}}}, "give one of the two"),
        ({"deployment_config": {"num_replicas": -1}}, "num_replicas is -1"),
        ({"model_loading_config": {"model_id": "m", "model_source": {"bucket_uri": "http://x"}}}, "bucket_uri"),
    ],
)
def test_bad_configs_are_refused_by_key(change, message):
    with pytest.raises(ValidationError, match=message):
        LLMConfig.model_validate(ONE | change)


@pytest.mark.parametrize("bundles", [True, 3, "GPU", {"GPU": 1}, [1]])
def test_bundles_that_are_no_list_of_bundles_are_kept_as_they_are(bundles):
    group = {"bundles": bundles}
    config = LLMConfig.model_validate({"model_loading_config": {"model_id": "a"}, "placement_group_config": group})
    assert ray_serve_llm.to_spec(config).spec.ray.placement_group_config == group
