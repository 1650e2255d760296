"""Manifests as text: reading InferenceModels from YAML, writing objects as YAML that people can read."""

from collections.abc import Iterator
from typing import Any

import yaml

from headrace_api import inference_model as api


class Malformed(Exception):  # noqa: N818
    """The text is not what was expected; the message says where and what is accepted."""


def models(text: str) -> Iterator[dict[str, Any]]:
    """Every InferenceModel in a stream of YAML documents.

    Raises:
        Malformed: the text is not YAML, or a document is not an InferenceModel.
    """
    try:
        documents = list(yaml.safe_load_all(text))
    except yaml.YAMLError as error:
        raise Malformed(f"not YAML: {error}") from None
    for number, document in enumerate(documents, 1):
        if document is None:
            continue
        if not isinstance(document, dict):
            raise Malformed(f"document {number}: a manifest is a map, not {type(document).__name__}")
        kind = document.get("apiVersion"), document.get("kind")
        if kind != (api.API_VERSION, api.KIND):
            raise Malformed(f"document {number}: {kind[0]} {kind[1]} is not {api.API_VERSION} {api.KIND}")
        if not (document.get("metadata") or {}).get("name"):
            raise Malformed(f"document {number}: metadata.name is missing")
        yield document


class _Readable(yaml.SafeDumper):
    """Writes texts of several lines as blocks."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Readable.add_representer(str, _text)


def to_yaml(*documents: dict[str, Any]) -> str:
    """Return one YAML stream of all documents."""
    return yaml.dump_all(documents, Dumper=_Readable, sort_keys=False, width=120)
