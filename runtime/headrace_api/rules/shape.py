"""pydantic's errors as findings: one for each place, in the manifest's names and in plain words."""

import copy
import functools
import itertools
import re
from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails

from headrace_api import accepted
from headrace_api.inference_model import InferenceModelSpec
from headrace_api.rules.finding import Finding, Path
from headrace_api.rules.manifest import shown
from headrace_api.suggest import did_you_mean

_MOST = 200
"""Complaints that are looked at: of more nobody reads the rest, and suggestions for each would take minutes."""
_URL = r"^(https?|wss?)://.+"


@functools.cache
def schema() -> accepted.Schema:
    """The spec's JSON schema; made once, when the first error needs it."""
    return InferenceModelSpec.model_json_schema()


def as_stored(given: Any, error: ValidationError) -> Any:
    """The spec as the API server stores it: without fields that are null, and 4.0 for a whole number as 4."""
    stored = copy.deepcopy(given)
    for one in error.errors(include_url=False, include_context=False):
        path, value = _place(stored, one), one["input"]
        if not path or not isinstance(path[-1], str):
            continue
        holder = _value(stored, path[:-1])
        if value is None:
            holder.pop(path[-1], None)
        elif one["type"] == "int_type" and isinstance(value, float) and value.is_integer():
            holder[path[-1]] = int(value)
    return stored


def findings(given: Any, error: ValidationError) -> list[Finding]:
    """One finding for each place that pydantic complains about, of the first complaints."""
    errors: dict[Path, tuple[str, str, bool]] = {}
    for one in itertools.islice(error.errors(include_url=False), _MOST):
        path = _place(given, one)
        errors.setdefault(path, (one["type"], one["msg"], len(path) < len(one["loc"])))
    deepest = _deepest(path for path, (_, _, union) in errors.items() if union)
    return [
        _finding(given, path, kind, text)
        for path, (kind, text, union) in errors.items()
        if not union or path in deepest
    ]


def _deepest(paths: Iterable[Path]) -> set[Path]:
    """The paths that are no beginning of another: of several readings of a value, the one that got furthest."""
    every = list(paths)
    return {path for path in every if not any(other[: len(path)] == path and other != path for other in every)}


def _finding(given: Any, path: Path, kind: str, text: str) -> Finding:
    full = ("spec", *path)
    here = accepted.at(schema(), path)
    if kind == "extra_forbidden":
        return Finding("HR001", "error", full, "unknown field", _known(path))
    if kind == "missing":
        needed = f" with {', '.join(here['required'])}" if "required" in here else ""
        kind = f"a map{needed}" if "properties" in here else accepted.words(here, schema())
        return Finding("HR002", "error", full, "is missing", f"write {kind}")
    if kind == "value_error":
        return Finding("HR003", "error", full, text.removeprefix("Value error, "), "see the field's description")
    value = _value(given, path)
    words = "an address that begins with http://, https://, ws:// or wss://"
    if here.get("pattern") != _URL:
        words = accepted.words(here, schema())
    near = did_you_mean(value, accepted.choices(here)) if isinstance(value, str) else ""
    return Finding(
        "HR003", "error", full, f"{shown(value)} is not accepted", f"write {words}{near}{_quoted(value, here)}"
    )


def _quoted(value: Any, here: accepted.Schema) -> str:
    """What to say of a number or a truth value that is in quotes."""
    kinds = {"integer": r"[+-]?\d+", "number": r"[+-]?\d+(\.\d*)?", "boolean": "true|false"}
    pattern = kinds.get(here.get("type", ""))
    return ", without quotes" if pattern and isinstance(value, str) and re.fullmatch(pattern, value) else ""


def _known(path: Path) -> str:
    """The names that are accepted beside an unknown one, and the one that was probably meant."""
    name = str(path[-1])
    names = accepted.fields(accepted.at(schema(), path[:-1]))
    camel = to_camel(name)
    meant = f" (did you mean {camel}?)" if camel in names else did_you_mean(camel, names)
    if elsewhere := next(accepted.places(schema(), camel), None) if camel not in names else None:
        meant = f" (did you mean spec.{elsewhere}?)"
    return f"accepted{meant}: {', '.join(names)}"


def _place(given: Any, one: ErrorDetails) -> Path:
    """The path of an error, without pydantic's names of union members."""
    path: Path = ()
    here = given
    for part in one["loc"]:
        if _has(here, part):
            path, here = (*path, part), here[part]
    if one["type"] == "missing":
        return (*path, one["loc"][-1])
    while path and _value(given, path) is not one["input"]:
        path = path[:-1]  # a key of the document that is called like a union member
    return path


def _has(here: Any, part: str | int) -> bool:
    if isinstance(here, list):
        return isinstance(part, int) and part < len(here)
    return isinstance(here, dict) and part in here


def _value(given: Any, path: Path) -> Any:
    for part in path:
        given = given[part]
    return given
