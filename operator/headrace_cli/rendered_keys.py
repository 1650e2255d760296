"""Every key of a model's rendered files and objects, each with its value and a name that is unique."""

import re
import tomllib
from collections.abc import Iterator
from typing import Any

import yaml

from headrace_api import names
from headrace_api.inference_model import InferenceModelSpec
from headrace_cli.rendering import objects
from headrace_operator.render.config import RenderConfig

Key = tuple[str, str]
"""The file or object (`worker_config.toml`, `Deployment`), and the path in it (`generator.type`)."""

_LABELS = ("name", "mountPath", "containerPort")
"""What the elements of Kubernetes' lists are told apart by, from the API's `patchMergeKey` of each list."""


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


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The paths of all values that have nothing in them; empty maps and lists are values, too."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from leaves(inner, f"{path}.{_word(name)}" if path else _word(name))
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for label, inner in zip(_labels(value), value, strict=True):
            yield from leaves(inner, f"{path}[{label}]")
    else:
        yield path, value


def _word(name: object) -> str:
    return str(name) if re.fullmatch(r"[\w-]+", str(name)) else f'"{name}"'


def _labels(items: list[Any]) -> list[str]:
    """A label for each element: what it is known by, or its position."""
    for label in _LABELS:
        found = [str(item[label]) for item in items if isinstance(item, dict) and label in item]
        if len(set(found)) == len(items):
            return found
    return [str(at) for at in range(len(items))]
