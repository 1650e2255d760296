"""`headrace render`, run as people run it."""

import subprocess
import sys
from pathlib import Path

import yaml

HEADRACE = Path(sys.executable).parent / "headrace"
MODEL = """
apiVersion: headrace.dev/v1alpha1
kind: InferenceModel
metadata: {name: m}
spec: {engine: {type: LlamaCppEngine, modelId: a/b}}
"""


def headrace(*arguments, text=""):
    return subprocess.run([HEADRACE, *arguments], input=text, capture_output=True, text=True, check=False)


def test_render_prints_every_object():
    result = headrace("render", "-", text=MODEL)
    assert result.returncode == 0, result.stderr
    objects = list(yaml.safe_load_all(result.stdout))
    assert [item["kind"] for item in objects] == ["ConfigMap", "Deployment"]


def test_errors_name_file_field_and_value(tmp_path):
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(MODEL.replace("LlamaCppEngine", "Llama"))
    result = headrace("render", str(wrong))
    assert result.returncode == 1
    assert f"{wrong}: InferenceModel m: HR003: spec.engine.type" in result.stderr
    assert "LlamaCppEngine" in result.stderr
    assert "'Llama' is not accepted" in result.stderr
    assert "not YAML" in headrace("render", "-", text="a: [").stderr
    assert (
        "document 1: v1 Pod is not headrace.dev/v1alpha1"
        in headrace("render", "-", text="{apiVersion: v1, kind: Pod}").stderr
    )


def test_crd_is_printed():
    assert yaml.safe_load(headrace("crd").stdout)["metadata"]["name"] == "inferencemodels.headrace.dev"
