"""`headrace import` and `headrace export`, on files as people have them."""

import json
import tomllib

import pytest
import yaml

from headrace_api.convert.places import complete
from headrace_api.ray_serve_llm import LLMConfig
from headrace_api.registry import LLMApp
from headrace_api.worker_config import WorkerConfig

REGISTRY = """\
enabled: true
deployment_config:
  autoscaling_config: {min_replicas: 1, initial_replicas: 1, max_replicas: 8, smoothing_factor: 0.6}
  max_concurrent_queries: 64
  ray_actor_options: {resources: {accelerator_type_cpu: 0.01}}
engine_config:
  model_id: mosaicml/mpt-7b-instruct
  type: VLLMEngine
  engine_kwargs: {trust_remote_code: true, revision: "08", dtype: null}
  max_total_tokens: 4096
  runtime_env: {env_vars: {A: "1e3", B: "on"}, pip: [x]}
  s3_mirror_config: {bucket_uri: s3://bucket/models--m/}
  generation:
    prompt_format:
      system: "{instruction}\\n"
      assistant: "### Response:\\n{instruction}\\n"
      trailing_assistant: "### Response:\\n"
      user: "### Instruction:\\n{instruction}\\n"
      strip_whitespace: false
    stopping_sequences: ["### End", 7, [1, 2]]
scaling_config:
  num_workers: 2
  num_gpus_per_worker: 1
  num_cpus_per_worker: 4
  placement_strategy: STRICT_PACK
  resources_per_worker: {accelerator_type_a10: 0.01}
"""
LLM_CONFIG = """\
model_loading_config: {model_id: qwen-0.5b, model_source: Qwen/Qwen2.5-0.5B-Instruct}
accelerator_type: A10G
deployment_config:
  autoscaling_config: {min_replicas: 1, max_replicas: 2}
engine_kwargs: {tensor_parallel_size: 2, max_model_len: 4096}
"""
WORKER = """\
edition = 1
[generator]
type = "luminous"
pipeline_parallel_size = 1
tensor_parallel_size = 2
tokenizer_path = "/path/tokenizer.json"
weight_set_directories = ["/path"]
[queue]
url = "http://localhost:8080"
checkpoint_name = "luminous-base"
tags = ["a"]
[monitoring]
metrics_port = 4001
"""
ENV = 'diagnostics = true\n[queue]\nurl = "http://localhost:8080"\ntoken = "secret-word"\n'
CAP = """\
checkpoint_name = "luminous-base"
gpu_model_name = "A100-40GB"
[checkpoint]
type = "luminous"
tokenizer_filename = "tokenizer.json"
directory = "/path/to/checkpoint"
"""


def manifest(result):
    assert result.status == 0, result.err
    (only,) = yaml.safe_load_all(result.out)
    return only


@pytest.fixture
def file(tmp_path):
    def write(name, text):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def test_a_registry_file_comes_back_equal_in_content(headrace, file):
    imported = headrace("import", file("mosaicml--MPT-7b_instruct.yaml", REGISTRY))
    assert manifest(imported)["metadata"] == {"name": "mosaicml--mpt-7b-instruct"}
    assert imported.err == ""
    back = headrace("export", "--to", "registry", "-", text=imported.out)
    assert back.status == 0, back.err
    first, second = (LLMApp.model_validate(yaml.safe_load(text)) for text in (REGISTRY, back.out))
    assert second.engine_config.engine_kwargs == {"trust_remote_code": True, "revision": "08", "dtype": None}
    assert second.engine_config.runtime_env.env_vars == {"A": "1e3", "B": "on"}
    written = complete(first)
    assert written == {key: value for key, value in _shape(complete(second), written).items() if key in written}


def _shape(found, like):
    """`found` without what the export writes out and the file left to its default."""
    if isinstance(found, dict) and isinstance(like, dict):
        return {key: _shape(value, like[key]) for key, value in found.items() if key in like}
    return found


def test_an_llm_config_comes_back_equal_in_content(headrace, file):
    imported = headrace("import", file("config.yaml", LLM_CONFIG))
    assert manifest(imported)["metadata"]["name"] == "qwen-0-5b"
    back = headrace("export", "--to", "ray-serve-llm", "-", text=imported.out)
    written, found = yaml.safe_load(LLM_CONFIG), yaml.safe_load(back.out)
    assert _shape(found, written) == written
    LLMConfig.model_validate(found)


def test_a_worker_file_comes_back_equal_in_content(headrace, file):
    imported = headrace("import", file("worker_config.toml", WORKER))
    assert manifest(imported)["metadata"]["name"] == "luminous-base"
    back = headrace("export", "--to", "worker-config", "-", text=imported.out)
    first, second = (WorkerConfig.model_validate(tomllib.loads(text)) for text in (WORKER, back.out))
    assert first == second


def test_the_two_files_of_a_worker(headrace, file):
    env, cap, other = file("env.toml", ENV), file("cap.toml", CAP), file("cap2.toml", CAP.replace("-base", "-extended"))
    imported = headrace("import", env, cap)
    spec = manifest(imported)["spec"]
    assert spec["monitoring"] == {"logLevel": "DEBUG"}
    assert spec["engine"]["tokenizerPath"] == "/path/to/checkpoint/tokenizer.json"
    assert "secret-word" not in imported.out + imported.err
    assert [line.split(": ")[:3] for line in imported.err.splitlines()] == [
        [str(env), "queue.token", "left out"],
        [str(cap), "gpu_model_name", "left out"],
    ]
    both = headrace("import", cap, other, env)
    names = [one["metadata"]["name"] for one in yaml.safe_load_all(both.out)]
    assert names == ["luminous-base", "luminous-extended"]


def test_what_is_left_out_as_json_and_as_a_failure(headrace, file):
    files = file("env.toml", ENV), file("cap.toml", CAP)
    result = headrace("import", "--format", "json", "--strict", *files)
    assert result.status == 1
    listed = json.loads(result.err)
    assert [(one["file"], one["key"]) for one in listed] == [
        (str(files[0]), "queue.token"),
        (str(files[1]), "gpu_model_name"),
    ]
    assert "fingerprint" in listed[1]["reason"]
    assert yaml.safe_load(result.out)["kind"] == "InferenceModel"
    assert headrace("import", "--strict", "-", text=REGISTRY).status == 0


def test_a_serve_application_around_the_models(headrace):
    inner = "\n".join(f"      {line}" for line in LLM_CONFIG.splitlines())
    text = (
        f"applications:\n- name: llms\n  route_prefix: /\n  args:\n    llm_configs:\n    -\n{inner}\n    - other.yaml\n"
    )
    result = headrace("import", "-", text=text)
    assert manifest(result)["metadata"]["name"] == "qwen-0-5b"
    assert [line.split(": ")[1] for line in result.err.splitlines()] == [
        "applications[0].name",
        "applications[0].route_prefix",
        "applications[0].args.llm_configs[1]",
    ]
    assert "import other.yaml, too" in result.err


def test_names(headrace, file):
    result = headrace("import", file("a--x.yaml", REGISTRY), file("plain.yaml", LLM_CONFIG), "--namespace", "models")
    found = [one["metadata"] for one in yaml.safe_load_all(result.out)]
    assert found == [{"name": "a--x", "namespace": "models"}, {"name": "qwen-0-5b", "namespace": "models"}]
    several = headrace("import", file("b--x.yaml", f"{REGISTRY}---\n{LLM_CONFIG}"))
    names = [one["metadata"]["name"] for one in yaml.safe_load_all(several.out)]
    assert names == ["mosaicml--mpt-7b-instruct", "qwen-0-5b"]
    assert manifest(headrace("import", "--name", "mine", "-", text=REGISTRY))["metadata"]["name"] == "mine"
    twice = headrace("import", file("1.yaml", LLM_CONFIG), file("2.yaml", LLM_CONFIG))
    assert twice.status == 2
    assert "2.yaml: its model would have the name qwen-0-5b, as that of" in twice.err
    assert headrace("import", "--name", "n", file("1.yaml", LLM_CONFIG), file("3.yaml", REGISTRY)).status == 2


@pytest.mark.parametrize(
    ("text", "status", "said"),
    [
        (
            "colour: red\n",
            1,
            "<stdin>:1: a map with the keys colour; accepted: a model registry's YAML (engine_config)",
        ),
        ("", 1, "<stdin>:1: there is nothing in it; accepted"),
        ("[colours]\nred = 1\n", 1, "<stdin>:1: a TOML file with the keys colours; accepted"),
        (ENV, 2, "<stdin>: an env.toml names no model; give its cap.toml files, too"),
        (CAP, 2, "<stdin>: a cap.toml names no queue; give its env.toml, too"),
        (
            REGISTRY.replace("engine_kwargs", "engin_kwargs"),
            1,
            "<stdin>:9: engine_config.engin_kwargs: unknown key (did",
        ),
        (WORKER.replace("metrics_port", "metric_port"), 1, "<stdin>:13: monitoring.metric_port: unknown key (did you"),
    ],
)
def test_what_cannot_be_imported(headrace, text, status, said):
    result = headrace("import", "-", text=text)
    assert (result.status, result.out) == (status, "")
    assert said in result.err


def test_what_the_api_server_would_refuse_is_said_at_once(headrace):
    text = REGISTRY.replace("trust_remote_code: true", "pipeline_parallel_size: 3")
    result = headrace("import", "-", text=text)
    assert result.status == 0
    assert "<stdin>:22: HR102: spec.scaling.numWorkers: 2 is not a multiple" in result.err


def test_export_tells_what_the_form_cannot_say(headrace, model_text):
    text = model_text.replace("modelId: a/b}", "modelId: a/b}, queue: {tags: [x]}, monitoring: {logLevel: DEBUG}")
    result = headrace("export", "--to", "registry", "--strict", "-", text=text)
    assert result.status == 1
    assert "<stdin>: spec.queue.tags: left out: the model registry has no key for it" in result.err
    assert yaml.safe_load(result.out)["engine_config"]["model_id"] == "a/b"


def test_a_worker_file_has_one_model(headrace, model_text):
    text = f"{model_text}---\n{model_text.replace('name: m', 'name: n')}"
    result = headrace("export", "--to", "worker-config", "-", text=text)
    assert result.status == 2
    assert "a worker_config.toml has one model, and there are 2: m, n" in result.err
    assert len(list(yaml.safe_load_all(headrace("export", "--to", "registry", "-", text=text).out))) == 2


def test_a_model_whose_name_cannot_be_a_resources_needs_one(headrace, file):
    nameless = file("x.yaml", "engine_config: {model_id: '///'}\n")
    refused = headrace("import", nameless)
    assert refused.status == 1
    assert "'///' gives no name" in refused.err
    assert "give one with --name" in refused.err
    assert manifest(headrace("import", "--name", "m", nameless))["metadata"] == {"name": "m"}


def test_export_writes_what_the_rules_would_refuse_and_says_so(headrace, model_text):
    engine = "{type: VLLMEngine, modelId: a/b, engineKwargs: {max_num_seqss: 2}}"
    text = model_text.replace("{type: LlamaCppEngine, modelId: a/b}", f"{engine}, replicas: 1")
    for form, read in (
        ("registry", yaml.safe_load),
        ("ray-serve-llm", yaml.safe_load),
        ("worker-config", tomllib.loads),
    ):
        result = headrace("export", "--to", form, "-", text=text)
        assert result.status == 0, result.err
        assert "<stdin>:4: HR301: spec.engine.engineKwargs.max_num_seqss" in result.err
        assert "max_num_seqss" in str(read(result.out))


def test_export_refuses_what_it_cannot_read(headrace, model_text):
    shape = headrace("export", "--to", "registry", "-", text=model_text.replace("modelId", "modelid"))
    assert (shape.status, shape.out) == (1, "")
    assert "HR001: spec.engine.modelid" in shape.err
    spec = "engine: {type: VLLMEngine, modelId: a/b, pipelineParallelSize: 3}, scaling: {numWorkers: 2}"
    text = model_text.replace("engine: {type: LlamaCppEngine, modelId: a/b}", spec)
    contradiction = headrace("export", "--to", "worker-config", "-", text=text)
    assert (contradiction.status, contradiction.out) == (1, "")
    assert "HR102: spec.scaling.numWorkers" in contradiction.err
