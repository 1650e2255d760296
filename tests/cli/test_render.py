"""`headrace render` and `headrace crd`."""

from pathlib import Path

import pytest
import yaml

from headrace_cli.values import render_config

CHART = Path(__file__).resolve().parents[2] / "charts" / "headrace"


def rendered(result):
    assert result.status == 0, result.err
    return {item["kind"]: item for item in yaml.safe_load_all(result.out)}


def container(objects):
    return objects["Deployment"]["spec"]["template"]["spec"]["containers"][0]


def test_every_object_is_printed(headrace, model_text):
    objects = rendered(headrace("render", "-", text=model_text))
    kinds = ["ConfigMap", "ServiceAccount", "NetworkPolicy", "Service", "PodDisruptionBudget", "Deployment"]
    assert list(objects) == kinds
    assert container(objects)["image"].startswith("docker.io/headrace/runtime-llamacpp:")


def test_options_take_the_place_of_the_chart(headrace, model_text):
    objects = rendered(headrace("render", "--queue-url", "http://q", "--image", "e.org/i:1", "-", text=model_text))
    assert container(objects)["image"] == "e.org/i:1"
    assert 'url = "http://q"' in objects["ConfigMap"]["data"]["worker_config.toml"]


def test_a_values_file_is_read_as_helm_does(headrace, tmp_path, model_text):
    values = tmp_path / "values.yaml"
    values.write_text(
        "image: {registry: e.org, pullPolicy: Never}\n"
        "queue: {service: {port: 9}, workerToken: {existingSecret: mine, key: k}}\n"
        "runtime: {graceSeconds: 90, nodeLostSeconds: 5, images: {LlamaCppEngine: {tag: t}}}\n"
    )
    objects = rendered(headrace("render", "--values", values, "-", text=model_text))
    assert container(objects)["image"] == "e.org/headrace/runtime-llamacpp:t"
    assert container(objects)["imagePullPolicy"] == "Never"
    pod = objects["Deployment"]["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == 90
    assert {one["tolerationSeconds"] for one in pod["tolerations"]} == {5}
    assert {"name": "mine", "key": "k"} in [
        one.get("valueFrom", {}).get("secretKeyRef") for one in container(objects)["env"]
    ]
    assert "svc:9" in objects["ConfigMap"]["data"]["worker_config.toml"]


def test_workers_pull_with_the_charts_secrets_and_the_models_own(headrace, tmp_path, model_text):
    values = tmp_path / "values.yaml"
    values.write_text("imagePullSecrets: [{name: registry}]\n")

    def pod(*options, text=model_text):
        return rendered(headrace("render", *options, "-", text=text))["Deployment"]["spec"]["template"]["spec"]

    assert "imagePullSecrets" not in pod()
    assert pod("--values", values)["imagePullSecrets"] == [{"name": "registry"}]
    own = model_text.replace("a/b}", "a/b}, template: {spec: {imagePullSecrets: [{name: own}]}}")
    assert pod("--values", values, text=own)["imagePullSecrets"] == [{"name": "registry"}, {"name": "own"}]
    (row,) = [
        one
        for one in headrace("explain", "--values", values, "-", text=model_text).out.splitlines()
        if "imagePull" in one and "registry" in one
    ]
    assert "chart value" in row


def test_without_options_the_images_are_the_charts_own():
    chart = yaml.safe_load((CHART / "values.yaml").read_text())
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    offered = {engine: image["repository"] for engine, image in chart["runtime"]["images"].items() if image}
    config = render_config(None, None, None)
    assert config.images == {
        engine: f"{chart['image']['registry']}/{repository}:{version}" for engine, repository in offered.items()
    }
    same = render_config(CHART / "values.yaml", None, None)
    assert same == config


def test_a_wrong_values_file_is_told(headrace, tmp_path, model_text):
    values = tmp_path / "values.yaml"
    values.write_text("runtime: {graceSeconds: soon}\n")
    result = headrace("render", "--values", values, "-", text=model_text)
    assert result.status == 2
    assert f"{values}: runtime.graceSeconds: " in result.err
    assert "got 'soon'" in result.err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "<stdin>:2: not YAML"),
        (
            "{apiVersion: v1, kind: Pod}",
            "<stdin>: no headrace.dev/v1alpha1 InferenceModel in it: it begins with v1 Pod",
        ),
        ("", "<stdin>: no headrace.dev/v1alpha1 InferenceModel in it: it is empty"),
        (
            "engine_config: {}",
            "it begins with the keys engine_config; files of other systems are read by headrace import",
        ),
    ],
)
def test_what_is_no_model(headrace, text, said):
    result = headrace("render", "-", text=text)
    assert (result.status, result.out) == (1, "")
    assert said in result.err


def test_errors_are_those_of_lint(headrace, model_text):
    result = headrace("render", "-", text=model_text.replace("LlamaCppEngine", "Llama"))
    assert result.status == 1
    assert result.err.startswith("<stdin>:4: HR003: spec.engine.type: 'Llama' is not accepted; write one of VLLMEngine")


def test_an_engine_without_an_image_is_told(headrace, model_text, tmp_path):
    text = model_text.replace("LlamaCppEngine", "EmbeddingEngine")
    values = tmp_path / "values.yaml"
    values.write_text("runtime: {images: {EmbeddingEngine: null}}\n")
    result = headrace("render", "--values", values, "-", text=text)
    assert result.status == 1
    assert "<stdin>:4: spec.engine.type: the chart has no runtime image for EmbeddingEngine" in result.err
    assert (
        "EmbeddingEngine"
        in rendered(headrace("render", "--image", "i", "-", text=text))["ConfigMap"]["data"]["model.yaml"]
    )


def test_crd_is_printed(headrace):
    printed = yaml.safe_load(headrace("crd").out)
    assert printed["metadata"]["name"] == "inferencemodels.headrace.dev"
    assert printed == yaml.safe_load((CHART / "crds/inferencemodels.headrace.dev.yaml").read_text())
