"""`model.yaml`: the model in the Ray-style form that its spec names, for people and tools that read it."""

from typing import Any

import yaml

from headrace_api.convert import registry
from headrace_api.inference_model import InferenceModelSpec


def document(spec: InferenceModelSpec) -> dict[str, Any]:
    """The document in the dialect of `spec.ray.dialect`."""
    return registry.from_spec(spec)


def to_yaml(content: dict[str, Any]) -> str:
    """The YAML text, keys in the document's order."""
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)
