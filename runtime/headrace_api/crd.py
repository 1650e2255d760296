"""The CustomResourceDefinition, made from the pydantic classes: a structural schema with defaults and CEL rules."""

from importlib.metadata import version
from typing import Any

from headrace_api import inference_model as api
from headrace_api import names
from headrace_api.inference_model_status import InferenceModelStatus
from headrace_api.rules.chain import CHAIN

Schema = dict[str, Any]

COLUMNS: list[dict[str, Any]] = [
    {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'},
    {"name": "Reason", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].reason'},
    {"name": "Workers", "type": "string", "jsonPath": ".status.workers", "description": "ready/desired"},
    {"name": "Model", "type": "string", "jsonPath": ".status.modelName", "description": "what clients ask for"},
    {"name": "Queued", "type": "integer", "jsonPath": ".status.queued", "description": "requests that wait"},
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    {"name": "Engine", "type": "string", "jsonPath": ".spec.engine.type", "priority": 1},
    {
        "name": "Message",
        "type": "string",
        "jsonPath": '.status.conditions[?(@.type=="Ready")].message',
        "description": "why, and what to do",
        "priority": 1,
    },
]
"""What `kubectl get inferencemodels.headrace.dev` shows."""

NAME_RULE = {
    "rule": "size(self.metadata.name) <= 63 && self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
    "message": "HR004: metadata.name has at most 63 characters, lower-case letters, digits and '-': it becomes a "
    "label and a host name",
}

ONE_WRITER_RULE = {
    "rule": "!has(self.deployment) || !has(self.deployment.autoscaling) || !has(oldSelf.deployment) || "
    "!has(oldSelf.deployment.autoscaling) || self.replicas == oldSelf.replicas || self.replicas == 1",
    "message": "HR206: spec.replicas has no effect: deployment.autoscaling decides how many workers run; change its "
    "minReplicas and maxReplicas, or leave autoscaling out",
}
"""For `kubectl scale`, HPA and KEDA, which would otherwise be told that it worked; 1 is the default, which leaving the
field out goes back to. Rules with `oldSelf` are asked at updates only, those of the scale subresource included."""


def custom_resource_definition() -> dict[str, Any]:
    """The whole CRD as an object."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{api.PLURAL}.{api.GROUP}",
            "annotations": {names.ANNOTATION_CRD_VERSION: version("headrace")},
        },
        "spec": {
            "group": api.GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": api.KIND,
                "listKind": f"{api.KIND}List",
                "plural": api.PLURAL,
                "singular": api.SINGULAR,
                "shortNames": [api.SHORT_NAME],
                "categories": ["headrace"],
            },
            "versions": [_version()],
        },
    }


def _version() -> dict[str, Any]:
    return {
        "name": api.VERSION,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": COLUMNS,
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.selector",
            },
        },
        "schema": {
            "openAPIV3Schema": {
                "type": "object",
                "description": "A model to serve: the operator runs its workers, the queue serves its clients.",
                "required": ["spec"],
                "x-kubernetes-validations": [NAME_RULE],
                "properties": {
                    "apiVersion": {"type": "string"},
                    "kind": {"type": "string"},
                    "metadata": {"type": "object"},
                    "spec": _spec(),
                    "status": {
                        **structural(InferenceModelStatus.model_json_schema(mode="serialization")),
                        # kstatus takes an object without a status for done: Flux would not wait for a new model
                        "default": {"observedGeneration": -1},
                    },
                },
            }
        },
    }


def _spec() -> Schema:
    schema = structural(api.InferenceModelSpec.model_json_schema())
    return {**schema, "x-kubernetes-validations": [*schema.get("x-kubernetes-validations", []), ONE_WRITER_RULE]}


def structural(json_schema: Schema) -> Schema:
    """Turn pydantic's JSON schema into Kubernetes' structural form.

    References are written out, `X | None` becomes X (an absent field and null mean the same, and the API server drops
    a null that is not nullable), titles go, `additionalProperties: false` goes (the API server prunes or refuses
    unknown fields by itself), and numeric exclusive bounds take OpenAPI 3.0's boolean form.
    """
    definitions = json_schema.get("$defs", {})
    return _convert(json_schema, definitions, json_schema.get("title", ""))


def _convert(schema: Schema, definitions: dict[str, Schema], name: str = "") -> Schema:
    if reference := schema.get("$ref"):
        target = reference.rsplit("/", 1)[-1]
        local = {key: value for key, value in schema.items() if key != "$ref"}
        return _convert({**definitions[target], **local}, definitions, target)
    if schema.get("x-kubernetes-preserve-unknown-fields") and "properties" not in schema:
        kept = ("type", "description", "default", "x-kubernetes-preserve-unknown-fields")
        return {key: schema[key] for key in kept if key in schema}
    if (options := schema.get("anyOf")) and "type" not in schema:
        real = [option for option in options if option.get("type") != "null"]
        shared = {key: value for key, value in schema.items() if key not in {"anyOf", "default"}}
        return _convert({**_one_of(real), **shared}, definitions, name)
    return _object(schema, definitions, name)


def _one_of(options: list[Schema]) -> Schema:
    """Several ways to write values of one type, as the structural form has them: the type beside, not within."""
    if len(options) == 1:
        return options[0]
    (kind,) = {option["type"] for option in options}
    return {"type": kind, "anyOf": [{key: value for key, value in one.items() if key != "type"} for one in options]}


def _object(schema: Schema, definitions: dict[str, Schema], name: str) -> Schema:
    out = {key: value for key, value in schema.items() if key not in _REPLACED}
    if 0 < schema.get("minimum", 0) < 1:
        # the API server cuts the bound to a whole number where the value is one, and so would take 0
        out |= {"minimum": 0, "exclusiveMinimum": True}
    if "exclusiveMinimum" in schema:
        out |= {"minimum": schema["exclusiveMinimum"], "exclusiveMinimum": True}
    if "exclusiveMaximum" in schema:
        out |= {"maximum": schema["exclusiveMaximum"], "exclusiveMaximum": True}
    if "const" in schema:
        out["enum"] = [schema["const"]]
    if "properties" in schema:
        if "default" in schema:
            out["default"] = {}  # the API server fills in the defaults of the fields within
        out["properties"] = {key: _convert(value, definitions) for key, value in schema["properties"].items()}
    if isinstance(extra := schema.get("additionalProperties"), dict):
        out["additionalProperties"] = _convert(extra, definitions)
    if "items" in schema:
        out["items"] = _convert(schema["items"], definitions)
    if rules := _cel_rules(name):
        out["x-kubernetes-validations"] = rules
    return out


def _cel_rules(name: str) -> list[dict[str, str]]:
    """The rules of the chain that the API server itself can check on the class called `name`."""
    return [
        {"rule": rule.cel[1], "message": f"{rule.code}: {rule.summary}"}
        for rule in CHAIN
        if rule.cel and rule.cel[0] == name
    ]


_REPLACED = frozenset(
    {"$defs", "title", "const", "properties", "additionalProperties", "items", "exclusiveMinimum", "exclusiveMaximum"}
)
