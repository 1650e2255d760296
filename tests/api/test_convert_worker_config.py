"""Any valid worker file, edition 1, is the same after it was a resource."""

import tomllib

import pytest
import tomli_w
import values as v
from api_server import stored
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from headrace_api.convert import worker_config
from headrace_api.inference_model import InferenceModelSpec
from headrace_api.worker_config import WorkerConfig, fingerprint
from headrace_operator.render.worker_toml import to_toml

QUEUE_URL = "http://headrace-queue.headrace.svc:8080"
ports = st.integers(1, 65535)


def files(name_in_queue):
    """Files whose model has its name in the queue's section, or in the generator's."""
    engine = v.engine_fields | {
        "engine_kwargs": v.toml_maps,
        "runtime_env": v.some(env_vars=v.environments, pip=st.lists(v.words), conda=v.toml_maps),
        "generation": v.some(
            prompt_format=v.prompt_formats, generate_kwargs=v.toml_maps, stopping_sequences=v.stopping_sequences
        ),
        "tensor_parallel_size": st.integers(1, 16),
        "pipeline_parallel_size": st.integers(1, 8),
        "tokenizer_path": v.words,
        "weight_set_directories": st.lists(v.words, max_size=2),
        "auto_memory_config": st.booleans(),
        "memory_safety_margin": st.one_of(st.just(0), st.floats(0, 0.99)),
        "unstable": v.some(skip_checkpoint_load=st.booleans()),
        "model_id": v.names,
    }
    queue = {
        "url": st.sampled_from(["http://localhost:8080", "wss://queue.example.com/worker"]),
        "token": v.words,
        "tags": st.lists(v.texts, max_size=2),
        "hostings": st.lists(v.texts, max_size=2),
        "http_request_retries": st.integers(0, 99),
        "max_concurrent_queries": v.counts,
        "checkpoint_name": v.names,
    }
    required = {"type": v.engines} if name_in_queue else {"type": v.engines, "model_id": engine.pop("model_id")}
    named = {"checkpoint_name": queue.pop("checkpoint_name")} if name_in_queue else {}
    optional = {"monitoring": v.some(metrics_port=ports, tcp_probes=st.lists(ports, max_size=2))}
    sections = {"edition": st.just(1), "generator": v.some(required, **engine)}
    if name_in_queue:
        return v.some(sections | {"queue": v.some(named, **queue)}, **optional)
    return v.some(sections, **optional, queue=v.some(**queue))


MIRROR = {"extra_files": []}
ALWAYS = {
    "generator": {
        "engine_kwargs": {},
        "runtime_env": {"env_vars": {}},
        "generation": {"generate_kwargs": {}, "stopping_sequences": []},
        "tensor_parallel_size": 1,
        "pipeline_parallel_size": 1,
        "weight_set_directories": [],
        "auto_memory_config": True,
        "memory_safety_margin": 0.05,
        "unstable": {"skip_checkpoint_load": False},
    },
    "queue": {"url": "http://localhost:8080", "tags": [], "hostings": [], "http_request_retries": 7},
    "monitoring": {"metrics_port": 4000, "tcp_probes": []},
}
PRESENT = {"s3_mirror_config": MIRROR, "gcs_mirror_config": MIRROR}
PROMPTS = {
    "default_system_message": "",
    "system_in_user": False,
    "add_system_tags_even_if_message_is_empty": False,
    "strip_whitespace": True,
}


def with_defaults(file):
    out = v.filled(file, ALWAYS, PRESENT)
    out["queue"].pop("token", None)
    if prompt := out["generator"]["generation"].get("prompt_format"):
        out["generator"]["generation"]["prompt_format"] = PROMPTS | prompt
    return out


@pytest.mark.slow
@given(files(name_in_queue=True) | files(name_in_queue=False))
def test_a_file_is_the_same_after_it_was_a_resource(file):
    imported = worker_config.to_spec(WorkerConfig.model_validate(tomllib.loads(tomli_w.dumps(file))))
    assert [left.key for left in imported.left_out] == (["queue.token"] if "token" in file.get("queue", {}) else [])
    rendered = to_toml(worker_config.from_spec(stored(imported.spec), QUEUE_URL))
    assert with_defaults(tomllib.loads(rendered)) == with_defaults(file)


@pytest.mark.slow
@given(files(name_in_queue=True) | files(name_in_queue=False))
def test_export_of_an_import_is_the_file_and_loses_nothing(file):
    config = WorkerConfig.model_validate(file)
    spec = worker_config.to_spec(config).spec
    without_token = config.model_copy(update={"queue": config.queue.model_copy(update={"token": None})})
    assert worker_config.from_spec(spec, QUEUE_URL) == without_token
    assert worker_config.not_exported(spec) == ()


@pytest.mark.slow
@given(v.yaml_maps, v.yaml_maps)
def test_operator_and_worker_have_one_fingerprint(engine_kwargs, generate_kwargs):
    engine = {
        "type": "VLLMEngine",
        "modelId": "m",
        "engineKwargs": engine_kwargs,
        "runtimeEnv": {"pip": None},
        "generation": {"generateKwargs": generate_kwargs},
    }
    config = worker_config.from_spec(stored(InferenceModelSpec.model_validate({"engine": engine})), QUEUE_URL)
    read = WorkerConfig.model_validate(tomllib.loads(to_toml(config)))
    assert fingerprint(read.generator) == fingerprint(config.generator)


def test_a_model_of_the_charts_queue_gets_its_url():
    spec = InferenceModelSpec.model_validate({"engine": {"type": "VLLMEngine", "modelId": "m"}})
    config = worker_config.from_spec(spec, QUEUE_URL)
    assert config.queue.url == QUEUE_URL
    assert config.queue.checkpoint_name is None
    assert config.model_name == "m"


def test_what_a_worker_file_cannot_say_is_named():
    spec = {
        "replicas": 2,
        "engine": {"type": "VLLMEngine", "modelId": "m", "modelUrl": "https://example.com"},
        "scaling": {"numWorkers": 2, "numCpusPerWorker": 4},
    }
    names = [left.key for left in worker_config.not_exported(InferenceModelSpec.model_validate(spec))]
    assert names == ["spec.replicas", "spec.engine.modelUrl", "spec.scaling.numCpusPerWorker"]


@pytest.mark.parametrize("key", ["scheduler_policy", "logger_level", "optimize"])
def test_words_that_the_resource_refuses_are_refused_in_the_file(key):
    file = {"edition": 1, "generator": {"type": "VLLMEngine", "model_id": "m", key: "other"}}
    with pytest.raises(ValidationError, match=key):
        WorkerConfig.model_validate(file)


def test_a_time_in_engine_kwargs_is_refused():
    text = 'edition = 1\n[generator]\ntype = "VLLMEngine"\nmodel_id = "m"\nengine_kwargs = { since = 07:32:00 }\n'
    with pytest.raises(ValidationError, match="since is a date or time"):
        WorkerConfig.model_validate(tomllib.loads(text))
