"""What the API server makes of a spec, from the generated schema alone: structural defaulting and pruning."""

import copy
import json

import jsonschema

from headrace_api.crd import custom_resource_definition
from headrace_api.inference_model import InferenceModelSpec

_ROOT = custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
SPEC = _ROOT["properties"]["spec"]
_VALIDATOR = jsonschema.Draft4Validator(SPEC)


def stored(spec: InferenceModelSpec) -> InferenceModelSpec:
    """The spec after it was applied as JSON, checked, filled with defaults, and read back."""
    written = spec.model_dump(mode="json", by_alias=True, exclude_unset=True)
    value = json.loads(json.dumps(written, allow_nan=False), parse_float=go_number)
    filled = default(copy.deepcopy(value), SPEC)
    _VALIDATOR.validate(filled)
    return InferenceModelSpec.model_validate(filled)


def go_number(text):
    """A whole float comes back without its fraction: Go's JSON encoder writes 1.0 as 1."""
    number = float(text)
    return int(number) if number.is_integer() and abs(number) < 1e21 else number


def default(value, schema):
    """Defaulting as in Kubernetes: nulls of fields go, defaults come, unknown fields go."""
    if isinstance(value, dict):
        return _default_map(value, schema)
    if isinstance(value, list) and "items" in schema:
        return [default(item, schema["items"]) for item in value]
    return value


def _default_map(value, schema):
    properties = schema.get("properties", {})
    free = schema.get("x-kubernetes-preserve-unknown-fields", False)
    others = schema.get("additionalProperties")
    out = {}
    for key, item in value.items():
        if key in properties and item is not None:
            out[key] = default(item, properties[key])
        elif key not in properties and (free or others):
            out[key] = default(item, others) if others else item
    for key, part in properties.items():
        if "default" in part and key not in out:
            out[key] = default(copy.deepcopy(part["default"]), part)
    return out
