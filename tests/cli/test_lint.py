"""`headrace lint`: which files it reads, the lines it names, its formats and exit statuses."""

import json

import pytest

WRONG = """\
apiVersion: v1
kind: Service
metadata: {name: s}
---
apiVersion: headrace.dev/v1alpha1
kind: InferenceModel
metadata: {name: m}
spec:
  engine:
    type: VLLMEngin
    modelId: a/b
  scaling:
    numWorker: 3
---
apiVersion: v1
kind: List
items:
- apiVersion: headrace.dev/v1alpha1
  kind: InferenceModel
  metadata: {name: m2}
  spec:
    engine: {type: VLLMEngine, modelId: a/b}
    scaling:
      numWorkers: 3
      numGpusPerWorker: 2
"""
REGISTRY = """\
engine_config:
  model_id: a/b
  type: VLLMEngine
  engine_kwargs: {}
scaling_config:
  num_workers: 1
"""


def test_a_good_manifest(headrace, model_text):
    result = headrace("lint", "-", text=model_text)
    assert (result.status, result.out) == (0, "")
    assert result.err == "checked 1: 0 errors, 0 warnings\n"


def test_findings_name_file_line_code_field_and_hint(headrace, tmp_path):
    file = tmp_path / "wrong.yaml"
    file.write_text(WRONG)
    result = headrace("lint", file)
    assert result.status == 1
    lines = result.out.splitlines()
    assert lines[0].startswith(f"{file}:10: HR003: spec.engine.type: 'VLLMEngin' is not accepted")
    assert "did you mean VLLMEngine?" in lines[0]
    assert lines[1].startswith(f"{file}:13: HR001: spec.scaling.numWorker: unknown field")
    assert lines[2].startswith(f"{file}:25: HR101: spec.scaling.numGpusPerWorker: 2 is more than 1; set")
    assert len(lines) == 3


def test_json(headrace):
    result = headrace("lint", "--format", "json", "-", text=WRONG)
    first = json.loads(result.out)[0]
    assert first["message"] == "'VLLMEngin' is not accepted"
    assert {key: first[key] for key in ("file", "line", "severity", "code", "field")} == {
        "file": "<stdin>",
        "line": 10,
        "severity": "error",
        "code": "HR003",
        "field": "spec.engine.type",
    }


def test_annotations_of_a_github_workflow_are_escaped(headrace, tmp_path):
    file = tmp_path / "a,b:c.yaml"
    file.write_text(WRONG.replace("VLLMEngin\n", '"50%\\nof"\n'))
    line = headrace("lint", "--format", "github", file).out.splitlines()[0]
    name = str(file).replace(":", "%3A").replace(",", "%2C")
    assert line.startswith(f"::error file={name},line=10,title=HR003::spec.engine.type: '50%25\\nof' is not accepted")


def test_directories_are_walked_and_other_yaml_is_left_alone(headrace, tmp_path, model_text):
    folder = tmp_path / "deep" / "models"
    folder.mkdir(parents=True)
    (folder / "good.yaml").write_text(model_text)
    (folder / "wrong.yml").write_text(WRONG)
    (folder / "registry.yaml").write_text(REGISTRY)
    (folder / "template.yaml").write_text("{{ not yaml }}: [")
    (folder / "notes.txt").write_text("headrace.dev/ [")
    result = headrace("lint", tmp_path)
    assert result.status == 1
    assert result.err.startswith("checked 4: 3 errors")
    assert {line.split(":")[0] for line in result.out.splitlines()} == {str(folder / "wrong.yml")}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "<stdin>:2: HR090: not YAML"),
        ("{a: 1, a: 2}", "<stdin>:1: HR090: not YAML: the key 'a' is there twice"),
        ("colour: red", "<stdin>:1: HR090: a map with the keys colour; accepted: a model registry's YAML"),
        ("- 1", "<stdin>:1: HR090: a list; accepted"),
        (
            "apiVersion: headrace.dev/v1\nkind: InferenceModel",
            "<stdin>:1: HR090: headrace.dev/v1 InferenceModel is not",
        ),
        (REGISTRY.replace("type", "typ"), "<stdin>:3: HR091: engine_config.typ: unknown key (did you mean type?)"),
        (REGISTRY.replace(": 1", ": 0"), "<stdin>:6: HR091: scaling_config.num_workers: 0 is not accepted"),
        ('edition = 2\n[generator]\ntype = "luminous"', "<stdin>:1: HR091: edition: 2 is not accepted"),
        ('edition = 1\n[generator]\ntyp = "luminous"', "<stdin>:3: HR091: generator.typ: unknown key"),
        ('[queue]\nurll = "http://q"', "<stdin>:2: HR091: queue.urll: unknown key (did you mean url?)"),
        ('checkpoint_name = "x"\n[checkpoint]\ntype = "luminous"\n', "HR091: checkpoint.directory: missing"),
        ("[colours]\nred = 1\n", "<stdin>:1: HR090: a TOML file with the keys colours; accepted"),
        (
            "model_loading_config: {model_id: a/b}\nllm_engin: vLLM\n",
            "<stdin>:2: HR091: llm_engin: unknown key (did you mean llm_engine?)",
        ),
    ],
)
def test_files_that_can_be_imported_are_checked_too(headrace, text, said):
    result = headrace("lint", "-", text=text)
    assert result.status == 1, result
    assert said in result.out


def test_rules_on_an_imported_file_name_its_own_line(headrace):
    text = REGISTRY.replace("engine_kwargs: {}", "engine_kwargs: {pipeline_parallel_size: 2}")
    findings = json.loads(headrace("lint", "--format", "json", "-", text=text).out)
    assert [(one["line"], one["field"]) for one in findings] == [(6, "spec.scaling.numWorkers")]


def test_a_text_in_yaml_that_looks_like_a_number_is_read_as_kubectl_does(headrace, model_text):
    text = model_text.replace("modelId: a/b", "modelId: 1e3")
    assert "HR003: spec.engine.modelId: 1000.0 is not accepted" in headrace("lint", "-", text=text).out


def test_files_that_cannot_be_read(headrace, tmp_path, model_text):
    good = tmp_path / "good.yaml"
    good.write_text(model_text)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"a: 1\nb: \xff\n")
    result = headrace("lint", tmp_path / "none.yaml", binary, good)
    assert result.status == 2
    assert f"{tmp_path / 'none.yaml'}: No such file or directory" in result.err
    assert f"{binary}:2: not UTF-8" in result.err
    assert "checked 1: 0 errors" in result.err


def test_nothing_to_check_is_no_success(headrace, tmp_path):
    (tmp_path / "service.yaml").write_text("apiVersion: v1\nkind: Service\n")
    result = headrace("lint", tmp_path, tmp_path / "service.yaml")
    assert result.status == 2
    assert "no InferenceModel" in result.err


def test_strict_makes_warnings_fail(headrace, monkeypatch, model_text):
    from headrace_api.rules.finding import Finding  # noqa: PLC0415
    from headrace_cli import manifests  # noqa: PLC0415

    warning = Finding("HR902", "warning", ("spec", "engine"), "has no effect", "leave it out")
    monkeypatch.setattr(manifests, "check_model", lambda *_: [warning])
    loose, strict = headrace("lint", "-", text=model_text), headrace("lint", "--strict", "-", text=model_text)
    assert loose.out == "<stdin>:4: warning: HR902: spec.engine: has no effect; leave it out\n"
    assert (loose.status, strict.status) == (0, 1)
    github = headrace("lint", "--format", "github", "-", text=model_text)
    assert github.out.startswith("::warning file=<stdin>,line=4,title=HR902::spec.engine: has no effect")


def test_facts_reach_the_rules(headrace, monkeypatch, tmp_path, model_text):
    from headrace_cli import manifests  # noqa: PLC0415

    seen = []
    monkeypatch.setattr(manifests, "check_model", lambda _, facts: seen.append(facts) or [])
    config = tmp_path / "config.json"
    config.write_text('{"num_attention_heads": 3}')
    options = ("--model-config", config, "--gpu-memory", "24", "--gpus-per-node", "8")
    assert headrace("lint", *options, "-", text=model_text).status == 0
    assert seen[0].model_config == {"num_attention_heads": 3}
    assert seen[0].gpu_memory_gib == 24
    assert set(seen[0].gpus_per_node.values()) == {8}
    local = model_text.replace("modelId: a/b", f"modelId: a/b, hfModelId: {tmp_path}")
    assert headrace("lint", "-", text=local).status == 0
    assert seen[1].model_config == {"num_attention_heads": 3}
    config.write_text("[1]")
    broken = headrace("lint", "--model-config", config, "-", text=model_text)
    assert (broken.status, broken.err) == (2, f"{config}: not a map; accepted: a model's config.json\n")


RENAMED = """\
deployment_config:
  autoscaling_config:
    max_replicas: 2
    target_num_ongoing_requests_per_replica: 3
    upscale_delay_s: 30
  max_concurrent_queries: 64
engine_config:
  model_id: a/b
  type: VLLMEngine
  engine_kwargs:
    max_num_seqss: 1
  s3_mirror_config:
    bucket_uri: s3://bucket/folder/
"""
RENAMED_WORKER = """\
edition = 1
[queue]
url = "http://q"
checkpoint_name = "x"
[generator]
type = "VLLMEngine"
model_id = "a/b"
tensor_parallel_size = 2
[generator.s3_mirror_config]
bucket_uri = "s3://bucket/folder/"
[generator.engine_kwargs]
max_num_seqss = 1
"""


@pytest.mark.parametrize(
    ("text", "field", "line"),
    [
        (RENAMED, "spec.engine.engineKwargs.max_num_seqss", 11),
        (RENAMED, "spec.engine.s3Mirror", 12),
        (RENAMED, "spec.engine.s3Mirror.bucketUri", 13),
        (RENAMED, "spec.deployment.autoscaling", 2),
        (RENAMED, "spec.deployment.autoscaling.targetOngoingRequestsPerReplica", 4),
        (RENAMED, "spec.deployment.autoscaling.upscaleDelaySeconds", 5),
        (RENAMED, "spec.deployment.autoscaling.minReplicas", 2),
        (RENAMED, "spec.engine.generation.promptFormat", 7),
        (RENAMED, "spec.queue.tags", 1),
        (RENAMED_WORKER, "spec.scaling.numWorkers", 8),
        (RENAMED_WORKER, "spec.engine.s3Mirror.bucketUri", 10),
        (RENAMED_WORKER, "spec.engine.engineKwargs.max_num_seqss", 12),
        (RENAMED_WORKER, "spec.engine.hfModelId", 5),
        (RENAMED_WORKER, "spec.replicas", 1),
        ("model_loading_config:\n  model_id: m\n  model_source: a/b\n", "spec.engine.hfModelId", 3),
        (
            "model_loading_config: {model_id: m}\nengine_kwargs:\n  tensor_parallel_size: 2\n",
            "spec.scaling.numWorkers",
            3,
        ),
    ],
)
def test_a_finding_has_the_line_of_the_users_own_key(headrace, monkeypatch, text, field, line):
    from headrace_api.rules.finding import Finding  # noqa: PLC0415
    from headrace_cli import imported_lint  # noqa: PLC0415

    finding = Finding("HR301", "error", tuple(field.split(".")), "is wrong", "")
    monkeypatch.setattr(imported_lint, "check_model", lambda *_: [finding])
    assert headrace("lint", "-", text=text).out == f"<stdin>:{line}: HR301: {field}: is wrong\n"


def test_a_cap_toml_is_checked_in_the_surroundings_of_the_env_toml_beside_it(headrace, tmp_path):
    env, cap = tmp_path / "env.toml", tmp_path / "cap.toml"
    env.write_text('[queue]\nurl = "http://queue:8080"\n\n[monitoring]\nmetrics_port = 4000\ntcp_probes = [4000]\n')
    cap.write_text(
        'checkpoint_name = "m"\n\n[checkpoint]\ntype = "luminous"\ntokenizer_filename = "t"\ndirectory = "/w"\n'
    )
    alone = headrace("lint", cap)
    both = headrace("lint", env, cap)
    assert "HR601" not in alone.out
    assert f"{env}:6: HR601" in both.out
