"""The editors' JSON schemas: valid themselves, and they say what the classes say."""

import json
from pathlib import Path

import jsonschema
import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "crds" / "schemas").glob("*.json"))


def schema(name):
    return json.loads((ROOT / "crds" / "schemas" / f"{name}.json").read_text())


def errors(name, document):
    validator = jsonschema.Draft202012Validator(schema(name))
    return [error.message for error in validator.iter_errors(document)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_schema_is_one(path):
    jsonschema.Draft202012Validator.check_schema(json.loads(path.read_text()))


def test_there_is_one_for_each_document():
    names = {path.stem for path in FILES}
    assert names == {"inference-model", "worker-config", "env", "cap", "registry", "ray-serve-llm"}


MANIFEST = {
    "apiVersion": "headrace.dev/v1alpha1",
    "kind": "InferenceModel",
    "metadata": {"name": "m", "labels": {"a": "b"}},
    "spec": {"engine": {"type": "VLLMEngine", "modelId": "m"}},
}


def test_the_manifests_schema():
    assert errors("inference-model", MANIFEST) == []
    assert errors("inference-model", {**MANIFEST, "kind": "Other"})
    assert errors("inference-model", {**MANIFEST, "metadata": {"name": "A"}})
    (message,) = errors("inference-model", {**MANIFEST, "spec": {**MANIFEST["spec"], "replica": 1}})
    assert "'replica' was unexpected" in message


def test_the_worker_files_schema():
    good = {"edition": 1, "generator": {"type": "VLLMEngine", "model_id": "m"}}
    assert errors("worker-config", good) == []
    assert errors("worker-config", {**good, "edition": 2})
    assert errors("worker-config", {"edition": 1, "generator": {}})


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_field_is_described(path):
    for part in (whole := json.loads(path.read_text()), *whole["$defs"].values()):
        for name, field in part.get("properties", {}).items():
            given = field if path.stem != "inference-model" or part is not whole else {"description": "Kubernetes'"}
            assert given.get("description"), name
