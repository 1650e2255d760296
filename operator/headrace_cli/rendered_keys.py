"""Every key of a model's rendered files and objects, each with its value and a name that is unique."""

import tomllib
from typing import Any

import yaml

from headrace_api import names
from headrace_api.inference_model import InferenceModelSpec
from headrace_cli.rendering import objects
from headrace_operator.render.config import RenderConfig
from headrace_operator.render.leaves import leaves

Key = tuple[str, str]
"""The file or object (`worker_config.toml`, `Deployment`), and the path in it (`generator.type`)."""


def rendered_keys(metadata: dict[str, Any], spec: InferenceModelSpec, config: RenderConfig) -> dict[Key, Any]:
    """Every leaf of what the operator would write; the two files are taken apart, not shown as one text.

    The pod template that the ConfigMap keeps is the Deployment's, and is not listed twice.
    """
    keys: dict[Key, Any] = {}
    for item in objects(metadata, spec, config):
        texts = item.pop("data") if item["kind"] == "ConfigMap" else {}
        texts.pop(names.POD_TEMPLATE_FILE, None)
        # of several objects of one kind, each has its name with it
        kind = (
            f"{item['kind']}/{item['metadata']['name']}"
            if any(place == item["kind"] for place, _ in keys)
            else item["kind"]
        )
        documents = {kind: item, **{name: _parsed(name, text) for name, text in texts.items()}}
        for place, document in documents.items():
            keys |= {(place, path): value for path, value in leaves(document)}
    return keys


def _parsed(name: str, text: str) -> Any:
    return tomllib.loads(text) if name == names.CONFIG_FILE else yaml.load(text, _Yaml)  # noqa: S506 - a SafeLoader


_Yaml = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
