"""What is around the spec: kind, name, and that all of it is JSON at all."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from headrace_api import inference_model as api
from headrace_api.rules.finding import Finding, Path
from headrace_api.suggest import did_you_mean

_KEYS = ("apiVersion", "kind", "metadata", "spec", "status")
NAME_PATTERN = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
"""A DNS label, but for its length."""
SHAPE_CODES = {
    "HR001": "use the fields that there are, in camelCase",
    "HR002": "write the fields that are required",
    "HR003": "write a value of the field's type and range",
    "HR004": "write metadata.name as a DNS label of at most 63 characters",
    "HR005": "write this version's apiVersion and kind",
    "HR008": "write a spec of at most 256 KiB as JSON",
}
"""The codes of what no rule of the chain looks at, because without it there is no spec."""
_DEEPEST = 64
"""Levels of nesting: more than any engine argument needs, and far from where recursive readers give up."""
_LARGEST = 2**63
MAX_SPEC_BYTES = 256 * 1024
"""Of the spec as JSON without spaces. A ConfigMap of at most 1 MiB holds what is made of it, and time is short: the
operator and the webhook, which anybody in the cluster can ask, read all of it."""
NAME_HINT = "write at most 63 characters: lower-case letters, digits and '-', a letter or digit at both ends"


def check(manifest: Mapping[str, Any]) -> Iterator[Finding]:
    """The findings outside of the spec's own fields; one with the path `spec` or none means that there is no spec."""
    if not isinstance(manifest, Mapping):
        yield Finding(
            "HR003", "error", (), f"{shown(manifest)} is not a manifest", "write a map with metadata and spec"
        )
        return
    if _is_larger(manifest.get("spec"), MAX_SPEC_BYTES):
        message = f"has more than {MAX_SPEC_BYTES // 1024} KiB as JSON"
        yield Finding("HR008", "error", ("spec",), message, "write less; long texts belong into files beside the model")
        return
    for key in manifest:
        if key not in _KEYS:
            hint = f"accepted{did_you_mean(str(key), _KEYS)}: {', '.join(_KEYS)}"
            yield Finding("HR001", "error", (str(key),), "unknown field", hint)
    yield from _kind(manifest)
    yield from _metadata(manifest.get("metadata"))
    if manifest.get("spec") is None:
        yield Finding("HR002", "error", ("spec",), "is missing", "write at least spec.engine.type and .modelId")
        return
    yield from _not_json(manifest["spec"])


def shown(value: Any) -> str:
    """A value as it is told to people: short, and as YAML or JSON would write it where that is short."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (dict, list)):
        kind = "map" if isinstance(value, dict) else "list"
        return f"a {kind} of {len(value)}" if value else f"an empty {kind}"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _is_larger(value: Any, limit: int) -> bool:
    """Whether a value takes more bytes as JSON; looks no further than that, however often an alias repeats a part."""
    size, stack = -1, [value]  # the comma that is counted for the whole value
    while stack and size <= limit:
        inner = stack.pop()
        size += 1  # the comma or colon after it; a list's or map's last one counts as a bracket
        if isinstance(inner, dict):
            size += 1 + (not inner)
            stack += [*inner.keys(), *inner.values()]
        elif isinstance(inner, list):
            size += 1 + (not inner)
            stack += inner
        elif isinstance(inner, int) and not isinstance(inner, bool):
            size += max(1, inner.bit_length() * 3 // 10)  # never as text: Python refuses to write thousands of digits
        elif isinstance(inner, str):
            size += len(json.dumps(inner, ensure_ascii=False).encode(errors="surrogatepass"))
        else:
            size += len(str(inner)) if isinstance(inner, float) else 4  # true, null, or what is no JSON
    return size > limit


def _kind(manifest: Mapping[str, Any]) -> Iterator[Finding]:
    for key, wanted in (("apiVersion", api.API_VERSION), ("kind", api.KIND)):
        given = manifest.get(key, wanted)
        if given != wanted:
            yield Finding(
                "HR005", "error", (key,), f"{shown(given)} is not what these rules are for", f"write {wanted}"
            )


def _metadata(metadata: Any) -> Iterator[Finding]:
    path: Path = ("metadata", "name")
    if not isinstance(metadata, Mapping):
        given = "is missing" if metadata is None else f"{shown(metadata)} is not a map"
        code = "HR002" if metadata is None else "HR003"
        yield Finding(code, "error", path[:1], given, "write metadata with a name")
        return
    name = metadata.get("name")
    if name is None:
        if not isinstance(metadata.get("generateName"), str):
            yield Finding("HR002", "error", path, "is missing", NAME_HINT)
    elif not isinstance(name, str):
        yield Finding("HR003", "error", path, f"{shown(name)} is not a text", f"put it in quotes; {NAME_HINT}")
    elif len(name) > 63:
        yield Finding("HR004", "error", path, f"{shown(name)} has {len(name)} characters", NAME_HINT)
    elif not re.fullmatch(NAME_PATTERN, name):
        yield Finding("HR004", "error", path, f"{shown(name)} is not a DNS label", NAME_HINT)


def _not_json(spec: Any) -> Iterator[Finding]:
    """What YAML or Python can hold and JSON cannot: dates, keys that are no texts, numbers without end."""
    stack: list[tuple[Path, Any]] = [(("spec",), spec)]
    while stack:
        path, value = stack.pop()
        if len(path) > _DEEPEST:
            yield Finding("HR003", "error", ("spec",), f"is nested more than {_DEEPEST} levels deep", "nest it less")
            return
        if isinstance(value, dict):
            for key, inner in value.items():
                if not isinstance(key, str):
                    message = f"the key {shown(key)} is not a text"
                    yield Finding("HR003", "error", (*path, str(key)), message, "put the key in quotes")
                stack.append(((*path, str(key)), inner))
        elif isinstance(value, list):
            stack += [((*path, at), inner) for at, inner in enumerate(value)]
        elif fault := _fault(value):
            yield Finding("HR003", "error", path, *fault)


def _fault(value: Any) -> tuple[str, str] | None:
    """Why a value cannot be in JSON, and what to write."""
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, str):
        lone = any("\ud800" <= letter <= "\udfff" for letter in value)
        return ("holds half a character (a lone surrogate)", "write the whole character") if lone else None
    if isinstance(value, float):
        return None if math.isfinite(value) else (f"{value} is not a number that JSON has", "write a finite number")
    if isinstance(value, int):
        large = not -_LARGEST <= value < _LARGEST
        return ("does not fit into 64 bits", "write a smaller number") if large else None
    return f"{shown(value)} is neither text, number, list nor map", "put it in quotes"
