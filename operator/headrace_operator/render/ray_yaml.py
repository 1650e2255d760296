"""`model.yaml`: the model in the Ray-style form that its spec names, for people and tools that read it."""

from typing import Any

import yaml

from headrace_api.convert import ray_serve_llm, registry
from headrace_api.inference_model import InferenceModelSpec


def document(spec: InferenceModelSpec) -> dict[str, Any]:
    """The document in the dialect of `spec.ray.dialect`."""
    if spec.ray.dialect == "ray-serve-llm":
        return ray_serve_llm.from_spec(spec)
    return registry.from_spec(spec)


class _Dumper(yaml.CSafeDumper):
    """Writes equal parts out each time: anchors would puzzle people."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def to_yaml(content: dict[str, Any]) -> str:
    """The YAML text, keys in the document's order."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
