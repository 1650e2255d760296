"""Any valid file of the model registry is the same after it was a resource."""

import pytest
import values as v
import yaml
from api_server import stored
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from headrace_api.convert import registry
from headrace_api.inference_model import InferenceModelSpec
from headrace_api.registry import LLMApp
from headrace_operator.render import ray_yaml

maybe = st.none
autoscaling = v.some(
    min_replicas=st.integers(0, 9),
    initial_replicas=maybe() | st.integers(0, 9),
    max_replicas=st.integers(1, 9),
    target_num_ongoing_requests_per_replica=v.targets,
    metrics_interval_s=v.periods,
    look_back_period_s=v.periods,
    smoothing_factor=v.factors,
    upscale_smoothing_factor=v.factors,
    downscale_smoothing_factor=v.factors,
    upscale_delay_s=v.delays,
    downscale_delay_s=v.delays,
)
files = v.some(
    {
        "engine_config": v.some(
            {"model_id": v.names},
            **(v.engine_fields | {"hf_model_id": maybe() | v.names}),
            type=v.engines,
            model_url=v.texts,
            model_description=v.texts,
            engine_kwargs=v.yaml_maps | st.just({"pipeline_parallel_size": 1}),
            runtime_env=maybe() | v.some(env_vars=v.environments, pip=st.lists(v.words), conda=v.yaml_maps),
            env_vars_to_propogate=st.lists(v.words, max_size=2),
            generation=v.some(
                prompt_format=maybe() | v.prompt_formats,
                generate_kwargs=v.yaml_maps,
                stopping_sequences=maybe() | v.stopping_sequences,
            ),
        )
    },
    enabled=st.booleans(),
    deployment_config=maybe()
    | v.some(
        autoscaling_config=maybe() | autoscaling,
        max_concurrent_queries=maybe() | v.counts,
        ray_actor_options=v.yaml_maps,
    ),
    scaling_config=maybe()
    | v.some(
        num_workers=st.integers(1, 16),
        num_gpus_per_worker=st.one_of(st.integers(0, 1), st.floats(0, 1)),
        num_cpus_per_worker=st.one_of(st.integers(0, 64), st.floats(0, 64)),
        placement_strategy=st.sampled_from(["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"]),
        resources_per_worker=maybe() | st.dictionaries(v.keys, st.floats(0, 1) | st.integers(0, 3), max_size=2),
        pg_timeout_s=v.positive,
    ),
    multiplex_config=st.just({"max_num_models_per_replica": 4}),
)
MIRROR = {"extra_files": []}
ALWAYS = {
    "enabled": True,
    "deployment_config": {"ray_actor_options": {}},
    "engine_config": {
        "type": "VLLMEngine",
        "engine_kwargs": {},
        "runtime_env": {"env_vars": {}},
        "generation": {"generate_kwargs": {}, "stopping_sequences": []},
    },
    "scaling_config": {"num_workers": 1, "resources_per_worker": {}},
}
PRESENT = {
    "s3_mirror_config": MIRROR,
    "gcs_mirror_config": MIRROR,
    "autoscaling_config": {
        "min_replicas": 1,
        "max_replicas": 1,
        "target_num_ongoing_requests_per_replica": 1.0,
        "metrics_interval_s": 10.0,
        "look_back_period_s": 30.0,
        "smoothing_factor": 1.0,
        "upscale_delay_s": 30.0,
        "downscale_delay_s": 600.0,
    },
}
"""Ray Serve's defaults of its autoscaling, as its documentation of that time gives them."""


def with_defaults(file):
    out = v.filled(file, ALWAYS, PRESENT)
    if out["engine_config"]["type"] == "LlamaCppEngine":
        out["scaling_config"] = {"num_gpus_per_worker": 0} | out["scaling_config"]
    return out


@pytest.mark.slow
@given(files)
def test_a_file_is_the_same_after_it_was_a_resource(file):
    read = yaml.safe_load(yaml.safe_dump(file, allow_unicode=True))
    imported = registry.to_spec(LLMApp.model_validate(read))
    assert imported.left_out == ()
    rendered = yaml.safe_load(ray_yaml.to_yaml(ray_yaml.document(stored(imported.spec))))
    assert rendered == with_defaults(file)
    assert LLMApp.model_validate(rendered)


@pytest.mark.slow
@given(files)
def test_export_of_an_import_is_the_file_and_loses_nothing(file):
    spec = registry.to_spec(LLMApp.model_validate(file)).spec
    assert registry.from_spec(spec) == with_defaults(file)
    assert registry.not_exported(spec) == ()
    again = registry.to_spec(LLMApp.model_validate(registry.from_spec(spec))).spec
    assert registry.from_spec(again) == registry.from_spec(spec)


@given(st.integers(2, 8))
def test_pipeline_stages_are_an_engine_argument_of_the_registry(stages):
    file = {
        "engine_config": {"model_id": "m", "engine_kwargs": {"pipeline_parallel_size": stages}},
        "scaling_config": {"num_workers": 2 * stages},
    }
    spec = registry.to_spec(LLMApp.model_validate(file)).spec
    assert spec.engine.pipeline_parallel_size == stages
    assert spec.engine.engine_kwargs == {}
    assert registry.from_spec(spec) == with_defaults(file)


@pytest.mark.parametrize(("workers", "stages", "size"), [(2, 1, 2), (4, 2, 2), (1, 1, 1)])
def test_a_tensor_parallel_size_that_agrees_is_said_once(workers, stages, size):
    arguments = {"tensor_parallel_size": size, "pipeline_parallel_size": stages, "dtype": "auto"}
    engine = {"model_id": "m", "engine_kwargs": arguments}
    imported = registry.to_spec(
        LLMApp.model_validate({"engine_config": engine, "scaling_config": {"num_workers": workers}})
    )
    assert "tensor_parallel_size" not in imported.spec.engine.engine_kwargs
    assert [one.key for one in imported.left_out] == ["engine_config.engine_kwargs.tensor_parallel_size"]


def test_a_tensor_parallel_size_that_contradicts_is_kept_for_the_rules():
    engine = {"model_id": "m", "engine_kwargs": {"tensor_parallel_size": 4}}
    imported = registry.to_spec(LLMApp.model_validate({"engine_config": engine, "scaling_config": {"num_workers": 2}}))
    assert imported.spec.engine.engine_kwargs == {"tensor_parallel_size": 4}


def test_the_first_replicas_are_those_of_the_file():
    def replicas(**autoscaling_config):
        file = {"engine_config": {"model_id": "m"}, "deployment_config": {"autoscaling_config": autoscaling_config}}
        return registry.to_spec(LLMApp.model_validate(file)).spec.replicas

    assert replicas(min_replicas=0, initial_replicas=3, max_replicas=8) == 3
    assert replicas(min_replicas=0, max_replicas=8) == 0
    assert replicas(max_replicas=8) == 1


@pytest.mark.parametrize(("replicas", "most"), [(0, 1), (3, 3)])
def test_a_fixed_number_of_replicas_is_an_autoscaling_that_cannot_move(replicas, most):
    spec = InferenceModelSpec.model_validate({"replicas": replicas, "engine": {"type": "VLLMEngine", "modelId": "m"}})
    fixed = {"min_replicas": replicas, "initial_replicas": replicas, "max_replicas": most}
    assert registry.from_spec(spec)["deployment_config"]["autoscaling_config"] == fixed


def test_what_a_registry_file_cannot_say_is_named():
    spec = {
        "engine": {"type": "VLLMEngine", "modelId": "m", "memory": {"autoMemoryConfig": False}},
        "queue": {"tags": ["a"]},
        "template": {"spec": {}},
    }
    names = [left.key for left in registry.not_exported(InferenceModelSpec.model_validate(spec))]
    assert names == ["spec.engine.memory.autoMemoryConfig", "spec.queue.tags", "spec.template"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"engine_config": {"model_id": "m", "engine_kwarg": {}}}, "engine_kwarg"),
        ({"engine_config": {"model_id": "m", "engine_kwargs": {"a": [None]}}}, r"a\[0\] is null"),
        ({"engine_config": {"model_id": "m", "engine_kwargs": {"a": {1: 2}}}}, "the key 1: keys are texts"),
        ({"engine_config": {"model_id": "m", "engine_kwargs": {"a": float("nan")}}}, "a is nan: numbers are finite"),
        ({"engine_config": {"model_id": "m", "engine_kwargs": {"a": 2**63}}}, "whole numbers have 64 bits"),
        ({"engine_config": {"model_id": "m", "engine_kwargs": {"a": 2.0**63}}}, "JSON writes it as a whole number"),
        ({"engine_config": {"model_id": "m", "runtime_env": {"envVars": {}}}}, "write env_vars"),
        ({"engine_config": {"model_id": "m", "generation": {"stopping_sequences": [1.5]}}}, "stopping_sequences"),
        ({"engine_config": {"model_id": "m"}, "scaling_config": {"num_gpus_per_worker": 2}}, "num_gpus_per_worker"),
        ({"engine_config": {}}, "model_id"),
    ],
)
def test_bad_files_are_refused_by_key(change, message):
    with pytest.raises(ValidationError, match=message):
        LLMApp.model_validate(change)


def test_a_date_in_a_free_form_map_is_refused():
    file = yaml.safe_load("engine_config: {model_id: m, engine_kwargs: {since: 2024-01-01}}")
    with pytest.raises(ValidationError, match="since is a date or time"):
        LLMApp.model_validate(file)
