"""JSON schemas for editors, which check and complete the documents while they are written."""

import json
from typing import Any

import docstrings
from documents import DOCUMENTS, MANIFEST, Document
from pydantic import BaseModel

from headrace_api import inference_model as api
from headrace_api.rules.manifest import NAME_PATTERN

Schema = dict[str, Any]


def outputs() -> dict[str, str]:
    """File names and texts."""
    return {f"{one.schema}.json": _text(described(one)) for one in DOCUMENTS if one.schema}


def described(document: Document) -> Schema:
    """The JSON schema of a document, with every description that the classes have."""
    schema = document.model.model_json_schema(mode="validation")
    classes = {kind.__name__: kind for kind in _classes(document.model)}
    for name, part in [(document.model.__name__, schema), *schema.get("$defs", {}).items()]:
        if kind := classes.get(name):
            _describe(part, kind)
    if document is MANIFEST:
        schema = _manifest(schema)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": document.title}


def _describe(part: Schema, kind: type[BaseModel]) -> None:
    texts = docstrings.fields_of(kind)
    for name, field in kind.model_fields.items():
        here = part.get("properties", {}).get(field.alias or name)
        if here is not None and name in texts:
            here.setdefault("description", texts[name])


def _classes(model: type[BaseModel]) -> list[type[BaseModel]]:
    """The class and all that its fields are made of."""
    found: list[type[BaseModel]] = []
    waiting: list[Any] = [model]
    while waiting:
        kind = waiting.pop()
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            if kind not in found:
                found.append(kind)
                waiting += [field.annotation for field in kind.model_fields.values()]
        else:
            waiting += getattr(kind, "__args__", ())
    return found


def _manifest(spec: Schema) -> Schema:
    definitions = spec.pop("$defs")
    name = {"type": "string", "maxLength": 63, "pattern": f"^{NAME_PATTERN}$"}
    return {
        "type": "object",
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "additionalProperties": False,
        "properties": {
            "apiVersion": {"const": api.API_VERSION},
            "kind": {"const": api.KIND},
            "metadata": {"type": "object", "required": ["name"], "properties": {"name": name}},
            "spec": spec,
            "status": {"type": "object"},
        },
        "$defs": definitions,
    }


def _text(schema: Schema) -> str:
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
