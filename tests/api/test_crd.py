"""The CRD's schema by the rules of Kubernetes' structural schemas, and what the API server makes of specs."""

import jsonschema
import pytest
from api_server import SPEC, default, stored

from headrace_api.crd import custom_resource_definition
from headrace_api.inference_model import InferenceModelSpec

ROOT = custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
STRUCTURE = {"type", "properties", "additionalProperties", "items", "default", "description", "required"}
VALUES = {
    "anyOf",
    "enum",
    "pattern",
    "format",
    "minLength",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
}
EXTENSIONS = {
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
}
TYPES = {"object", "array", "string", "integer", "number", "boolean"}


def parts(schema, path="spec"):
    yield path, schema
    for name, part in schema.get("properties", {}).items():
        yield from parts(part, f"{path}.{name}")
    for inner in ("items", "additionalProperties"):
        if isinstance(schema.get(inner), dict):
            yield from parts(schema[inner], f"{path}.{inner}")


ALL = dict(parts(ROOT, ""))


@pytest.mark.parametrize("path", ALL)
def test_every_part_is_structural(path):
    part = ALL[path]
    assert set(part) <= STRUCTURE | VALUES | EXTENSIONS
    free = part.get("x-kubernetes-preserve-unknown-fields")
    assert part.get("type") in TYPES or (free is True and "type" not in part)
    assert not ("properties" in part and "additionalProperties" in part)
    assert ("items" in part) == (part.get("type") == "array")
    assert part.get("additionalProperties") is not False
    for bound in ("exclusiveMinimum", "exclusiveMaximum"):
        assert part.get(bound, True) is True
    assert set(part.get("required", [])) <= set(part.get("properties", {}))


@pytest.mark.parametrize("path", [path for path, part in ALL.items() if "default" in part])
def test_defaults_are_valid_and_known(path):
    part = ALL[path]
    filled = default(part["default"], part)
    jsonschema.Draft4Validator(part).validate(filled)
    assert default(filled, part) == filled
    assert part["default"] is not None


def test_ways_to_write_one_value_have_no_type_of_their_own():
    several = {path: part for path, part in ALL.items() if "anyOf" in part}
    assert list(several) == [".spec.engine.type"]
    for part in several.values():
        assert part["type"] == "string"
        assert all(set(option) <= VALUES - {"anyOf"} for option in part["anyOf"])


def test_required_fields_with_a_default_are_not_required():
    for path, part in ALL.items():
        for name in part.get("required", []):
            assert "default" not in part["properties"][name], f"{path}.{name}"


def test_a_small_spec_gets_defaults_and_no_optional_object():
    filled = default({"engine": {"type": "VLLMEngine", "modelId": "m"}}, SPEC)
    assert set(filled) == {
        *("enabled", "backend", "replicas", "deployment", "engine", "scaling", "queue", "monitoring", "rollout", "ray"),
        "template",
    }
    assert filled["deployment"] == {"rayActorOptions": {}}
    assert filled["ray"] == {"dialect": "registry"}
    assert filled["scaling"] == {"numWorkers": 1, "resourcesPerWorker": {}}
    assert filled["engine"]["generation"] == {"generateKwargs": {}, "stoppingSequences": []}
    assert not {"s3Mirror", "gcsMirror", "maxTotalTokens", "hfModelId"} & set(filled["engine"])
    assert InferenceModelSpec.model_validate(filled).deployment.autoscaling is None


def test_nulls_of_optional_objects_are_absent():
    engine = {"type": "VLLMEngine", "modelId": "m", "generation": {"promptFormat": None}, "runtimeEnv": None}
    filled = default({"engine": engine, "deployment": {"autoscaling": None}}, SPEC)
    assert "autoscaling" not in filled["deployment"]
    assert "promptFormat" not in filled["engine"]["generation"]
    assert filled["engine"]["runtimeEnv"] == {"envVars": {}}


@pytest.mark.parametrize(
    "spec",
    [
        {"engine": {"type": "VLLMEngine", "modelId": "m", "generation": {"promptFormat": {}}}},
        {"engine": {"type": "VLLMEngine", "modelId": "m", "engineKwargs": {"a": {"b": None}, "c": [{}, []]}}},
        {"engine": {"type": "VLLMEngine", "modelId": "m", "generation": {"stoppingSequences": ["", 1, [1, "x"], []]}}},
        {"engine": {"type": "VLLMEngine", "modelId": "m", "runtimeEnv": {"pip": ["x"], "conda": None}}},
        {"engine": {"type": "VLLMEngine", "modelId": "m"}, "deployment": {"autoscaling": {}}},
        {"engine": {"type": "VLLMEngine", "modelId": "m"}, "ray": {"placementGroupConfig": {}, "loraConfig": {}}},
        {"engine": {"type": "VLLMEngine", "modelId": "m"}, "template": {"spec": {"hostNetwork": None}}},
    ],
)
def test_what_a_spec_says_is_what_is_read_back(spec):
    given = InferenceModelSpec.model_validate(spec)
    assert stored(given) == given
