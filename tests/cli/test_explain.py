"""`headrace explain`: every rendered key once, each with the layer that set it."""

import json
import tomllib

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace_api.inference_model import InferenceModelSpec
from headrace_cli.provenance import explain
from headrace_cli.rendering import objects
from headrace_cli.values import render_config
from headrace_operator.render.leaves import leaves

CONFIG = render_config(None, None, "example.org/runtime:1")
METADATA = {"name": "m", "namespace": "n"}

FIELDS = {
    "engine.maxTotalTokens": st.integers(1, 9999),
    "engine.engineKwargs": st.dictionaries(st.sampled_from(["seed", "dtype"]), st.integers(0, 9) | st.just("auto")),
    "engine.runtimeEnv.envVars": st.dictionaries(st.sampled_from("AB"), st.sampled_from(["", "1", "x"])),
    "engine.memory.memorySafetyMargin": st.sampled_from([0.05, 0.1]),
    "engine.generation.stoppingSequences": st.lists(st.sampled_from(["a", 3, [1, 2]]), max_size=2),
    "engine.s3Mirror.bucketUri": st.just("s3://bucket/folder/"),
    "scaling.numWorkers": st.integers(1, 3).map(lambda stages: stages * 2),
    "engine.pipelineParallelSize": st.integers(1, 2),
    "scaling.numCpusPerWorker": st.sampled_from([0.5, 2]),
    "deployment.maxConcurrentQueries": st.integers(1, 99),
    "deployment.autoscaling.maxReplicas": st.integers(1, 9),
    "queue.url": st.just("http://elsewhere"),
    "queue.tags": st.lists(st.sampled_from("ab"), max_size=2),
    "monitoring.metricsPort": st.integers(4000, 4002),
    "monitoring.logLevel": st.sampled_from(["INFO", "DEBUG"]),
    "enabled": st.booleans(),
    "replicas": st.integers(0, 3),
    "template.spec.nodeSelector": st.dictionaries(st.sampled_from(["a/b", "c"]), st.just("x")),
    "template.spec.containers": st.just([{"name": "worker", "env": [{"name": "X", "value": "1"}]}]),
}


@st.composite
def specs(draw):
    spec = {"engine": {"type": draw(st.sampled_from(["VLLMEngine", "LlamaCppEngine"])), "modelId": "a/b"}}
    for path in draw(st.sets(st.sampled_from(sorted(FIELDS)), max_size=8)):
        here = spec
        *way, last = path.split(".")
        for name in way:
            here = here.setdefault(name, {})
        here[last] = draw(FIELDS[path])
    spec.setdefault("scaling", {}).setdefault("numWorkers", 2)
    return spec


def keys(metadata, spec, config):
    """A reading of the rendering of its own: (place, path, value)."""
    found = []
    for item in objects(metadata, InferenceModelSpec.model_validate(spec), config):
        data = item.pop("data", {})
        found += [(item["kind"], *leaf) for leaf in leaves(item)]
        if data:
            found += [("worker_config.toml", *leaf) for leaf in leaves(tomllib.loads(data["worker_config.toml"]))]
            found += [("model.yaml", *leaf) for leaf in leaves(yaml.safe_load(data["model.yaml"]))]
    return found


def at(spec, field):
    """What a spec says at `spec.a.b[0]`; None for nothing."""
    here = {"spec": spec}
    text = field.replace("[", ".[").split(".")
    for part in text:
        if part.startswith("["):
            here = here[int(part[1:-1])] if isinstance(here, list) else None
        else:
            here = here.get(part) if isinstance(here, dict) else None
    return here


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(specs())
def test_every_rendered_key_has_exactly_one_row_and_a_true_layer(spec):
    rows = explain(METADATA, spec, CONFIG)
    said = [(row.place, row.key, row.value) for row in rows]
    assert sorted(map(repr, said)) == sorted(map(repr, keys(METADATA, spec, CONFIG)))
    assert len({(row.place, row.key) for row in rows}) == len(rows)
    for row in rows:
        stated = [one for one in row.sources if one.startswith("metadata.name") or at(spec, one) is not None]
        assert row.layer in {"spec", "chart default", "headrace default", "computed", "cluster"}
        assert bool(stated) == (row.layer == "spec"), row


def rows_of(spec, **options):
    return {(row.place, row.key): row for row in explain(METADATA, spec, CONFIG, **options)}


SMALL = {"engine": {"type": "VLLMEngine", "modelId": "a/b"}}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "place", "key", "layer", "sources"),
    [
        ({}, "worker_config.toml", "generator.model_id", "spec", ("spec.engine.modelId",)),
        ({}, "worker_config.toml", "queue.url", "chart default", ("queue.service.port",)),
        ({"queue": {"url": "http://q"}}, "worker_config.toml", "queue.url", "spec", ("spec.queue.url",)),
        ({}, "worker_config.toml", "monitoring.metrics_port", "headrace default", ("spec.monitoring.metricsPort",)),
        (
            {"monitoring": {"metricsPort": 4000}},  # a default that is written down is the manifest's
            "worker_config.toml",
            "monitoring.metrics_port",
            "spec",
            ("spec.monitoring.metricsPort",),
        ),
        (
            {"scaling": {"numWorkers": 4}},
            "Deployment",
            'spec.template.spec.containers[worker].resources.limits."nvidia.com/gpu"',
            "spec",
            ("spec.engine.type", "spec.scaling.numWorkers"),
        ),
        (
            {},
            "Deployment",
            "spec.template.spec.terminationGracePeriodSeconds",
            "chart default",
            ("runtime.graceSeconds",),
        ),
        (
            {"template": {"spec": {"terminationGracePeriodSeconds": 5}}},
            "Deployment",
            "spec.template.spec.terminationGracePeriodSeconds",
            "spec",
            ("spec.template.spec.terminationGracePeriodSeconds",),
        ),
        ({}, "Deployment", "spec.template.spec.enableServiceLinks", "headrace default", ()),
        (
            {},
            "Deployment",
            'spec.template.metadata.annotations."headrace.dev/revision"',
            "computed",
            ("everything that is rendered",),
        ),
        ({}, "Deployment", "metadata.name", "spec", ("metadata.name",)),
    ],
)
def test_layers_of_known_keys(more, place, key, layer, sources):
    row = rows_of(SMALL | more)[place, key]
    assert (row.layer, row.sources) == (layer, sources)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["system", "assistant", "user"])
def test_templates_that_have_to_hold_a_word_are_the_manifests(name):
    templates = {"system": "S {instruction}", "assistant": "A {instruction}", "user": "U {instruction}"}
    chat = {"promptFormat": {**templates, "trailingAssistant": "A "}}
    rows = rows_of({"engine": {**SMALL["engine"], "generation": chat}})
    row = rows["worker_config.toml", f"generator.generation.prompt_format.{name}"]
    assert (row.layer, row.sources) == ("spec", (f"spec.engine.generation.promptFormat.{name}",))


def test_both_fields_of_a_quotient_are_named():
    spec = {"engine": {**SMALL["engine"], "pipelineParallelSize": 2}, "scaling": {"numWorkers": 2}}
    row = rows_of(spec)["worker_config.toml", "generator.tensor_parallel_size"]
    assert set(row.sources) == {"spec.engine.pipelineParallelSize", "spec.scaling.numWorkers"}


def test_values_that_were_given_are_not_defaults(headrace, tmp_path, model_text):
    values = tmp_path / "values.yaml"
    values.write_text("runtime: {graceSeconds: 60}\n")
    result = headrace(
        "explain", "--format", "json", "--values", values, "--queue-url", "http://q", "-", text=model_text
    )
    found = {(row["in"], row["key"]): row for row in json.loads(result.out)}
    grace = found["Deployment", "spec.template.spec.terminationGracePeriodSeconds"]
    assert (grace["layer"], grace["sources"], grace["value"]) == ("chart value", ["runtime.graceSeconds"], 60)
    assert found["worker_config.toml", "queue.url"]["layer"] == "chart value"
    assert found["Deployment", "spec.template.spec.containers[worker].image"]["layer"] == "chart default"


@pytest.mark.slow
def test_arguments_that_nobody_sets_have_the_engines_default(headrace):
    spec = "{engine: {type: VLLMEngine, modelId: a/b, maxTotalTokens: 9, engineKwargs: {enable-prefix-caching: true}}}"
    text = f"apiVersion: headrace.dev/v1alpha1\nkind: InferenceModel\nmetadata: {{name: m}}\nspec: {spec}\n"
    rows = json.loads(headrace("explain", "--format", "json", "-", text=text).out)
    found = {row["key"]: row for row in rows if row["layer"] == "engine default"}
    assert found["block_size"]["in"].startswith("vLLM ")
    assert found["seed"]["sources"] == ["spec.engine.engineKwargs.seed"]
    assert found["allowed_local_media_path"]["value"] == ""
    # the manifest, the operator and the worker set these
    assert not found.keys() & {"enable_prefix_caching", "max_model_len", "model", "port", "max_num_seqs"}
    without = headrace("explain", "--no-engine", "--format", "json", "-", text=text)
    assert json.loads(without.out) == [row for row in rows if row["layer"] != "engine default"]


@pytest.mark.slow
def test_a_pipe_gets_a_line_for_each_key(headrace, model_text):
    result = headrace("explain", "-", text=model_text)
    lines = [line.split("\t") for line in result.out.splitlines()]
    assert ["worker_config.toml", "generator.type", '"LlamaCppEngine"', "spec", "spec.engine.type"] in lines
    assert {len(line) for line in lines} == {5}


def test_errors_are_those_of_lint(headrace, model_text):
    result = headrace("explain", "-", text=model_text.replace("modelId", "modelid"))
    assert result.status == 1
    assert "<stdin>:4: HR001: spec.engine.modelid: unknown field" in result.err
