"""The paths of everything in a document, such as `spec.containers[worker].image`."""

import re
from collections.abc import Iterator
from typing import Any

_LABELS = ("name", "mountPath", "containerPort")
"""What the elements of Kubernetes' lists are told apart by, from the API's `patchMergeKey` of each list."""


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
