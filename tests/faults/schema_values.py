"""Values for every property of the CRD's schema: valid others, odd ones, and ones that the schema refuses. Pure."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from headrace_api import accepted

Schema = dict[str, Any]
Path = tuple[str | int, ...]
"""Names of properties below `spec`, and 0 for the first element of a list."""
Kind = Literal["valid", "odd", "invalid"]

_INT64 = 2**63 - 1
_LONG = "x" * 5000
_TEXTS = ("other", "ä/模型 \u2028", _LONG, " padded ", "null", "{{ .x }}\n- y: [", "")
_TEXT_NOT = (7, True, ["a"], {"a": "b"})
_FREE = ({}, {"ключ": "ü"}, {"a": {"b": [1, {"c": None}], "d": 1.5}}, {"n": 2**53, "big": 1e300})
_TEMPLATES = (
    {"spec": {"nodeSelector": {"example.com/none": "here"}}},
    {"spec": {"priorityClassName": "no-such-class"}},
    {"spec": {"containers": "none"}},
    {"spec": {"noSuchField": 1}},
    {"metadata": {"labels": {"headrace.dev/model": "another"}, "annotations": {"example.com/a": "b"}}},
    {"spec": {"containers": [{"name": "worker", "resources": {"limits": {"memory": "1024Mi", "cpu": "1000m"}}}]}},
    {"spec": {"volumes": None, "containers": [{"name": "side", "image": "example.com/side:1"}]}},
)
_PATTERNED = {
    "url": ("http://other.example.com:81", "https://user@other.example.com/x?y=z"),
    "hostPath": ("/var/cache",),
    "start": ("23:59",),
    "bucketUri": ("s3://other/folder/", "gs://other/folder/"),
    "timeZone": ("Europe/Berlin", "Mars/Olympus"),
}
"""Values that more than the type is asked of, by the property's name."""


@dataclass(frozen=True)
class Trial:
    """One property set to one value."""

    path: Path
    kind: Kind
    value: Any

    def __str__(self) -> str:
        return f"spec.{'.'.join(map(str, self.path))} = {self.value!r:.80} ({self.kind})"

    @property
    def property(self) -> str:
        """The innermost name of a property, which a refusal must say."""
        return next(str(part) for part in reversed(self.path) if isinstance(part, str))


def trials(schema: Schema) -> list[Trial]:
    """All trials for the schema of `spec`, in its order."""
    return [Trial(path, kind, value) for path, part in _properties(schema, ()) for kind, value in _values(path, part)]


def applied(spec: Any, schema: Schema, trial: Trial) -> Any:
    """The spec with the trial's value at its place; what has to be around it is made."""
    return _put(copy.deepcopy(spec), schema, trial.path, trial.value)


def _put(value: Any, schema: Schema, path: Path, new: Any) -> Any:
    if not path:
        return new
    step, rest = path[0], path[1:]
    if isinstance(step, int):
        items = value or [_sample(schema["items"])]
        return [_put(items[0], schema["items"], rest, new), *items[1:]]
    value = _sample(schema) if value is None else value
    return {**value, step: _put(value.get(step), schema["properties"][step], rest, new)}


def _sample(schema: Schema) -> Any:
    """The smallest value that the schema's shape accepts."""
    if "default" in schema and schema.get("type") != "object":
        return schema["default"]
    if choices := accepted.choices(schema):
        return choices[0]
    if schema.get("type") == "object":
        return {name: _named_sample(name, schema["properties"][name]) for name in schema.get("required", ())}
    return {"array": [], "integer": 1, "number": 0.5, "boolean": True}.get(schema.get("type", ""), "some")


def _named_sample(name: str, schema: Schema) -> Any:
    return _PATTERNED[name][0] if name in _PATTERNED else _sample(schema)


def _properties(schema: Schema, path: Path) -> Iterator[tuple[Path, Schema]]:
    for name, part in schema.get("properties", {}).items():
        yield (*path, name), part
        yield from _properties(part, (*path, name))
        if part.get("type") == "array" and part["items"].get("properties"):
            yield from _properties(part["items"], (*path, name, 0))


def _values(path: Path, schema: Schema) -> Iterator[tuple[Kind, Any]]:
    name = str(path[-1])
    if choices := accepted.choices(schema):
        yield from (("valid", value) for value in choices)
        yield from (("invalid", value) for value in ("NoSuch", "", 7))
    elif schema.get("type") == "boolean":
        yield from (("valid", value) for value in (True, False))
        yield from (("invalid", value) for value in ("yes", 1, []))
    elif schema.get("type") in {"integer", "number"}:
        yield from _numbers(name, schema)
    elif schema.get("type") == "string":
        yield from (("odd", value) for value in (*_PATTERNED.get(name, ()), *_TEXTS))
        yield from (("invalid", value) for value in _TEXT_NOT)
    elif schema.get("type") == "array":
        yield from _lists(schema["items"])
    else:
        yield from _maps(name, schema)
    yield "odd", None


def _numbers(name: str, schema: Schema) -> Iterator[tuple[Kind, Any]]:
    lowest, highest = schema.get("minimum", 0), schema.get("maximum", _INT64)
    many = name.lower().endswith("replicas")  # real pods would be made
    whole = schema["type"] == "integer"
    huge: tuple[Any, ...] = (2**31, _INT64) if whole else (1e-300, 1e308)
    if many:
        huge = (2**31,) if name == "replicas" else ()
    yield from (("valid", value) for value in {lowest + 1, lowest + 2} if value <= highest)
    yield from (("odd", value) for value in (lowest, 0, *huge, min(highest, _INT64)) if not many or value in {0, 2**31})
    yield from (("invalid", value) for value in ("1", [1], {"a": 1}))
    yield "odd", lowest - 1
    if whole:
        yield "invalid", 1.5
    if "maximum" in schema:
        yield "invalid", highest + 1


def _lists(items: Schema) -> Iterator[tuple[Kind, Any]]:
    one = _sample(items)
    yield from (("valid", value) for value in ([], [one]))
    yield from (("odd", value) for value in ([one] * 300, ["", "ü"] if items.get("type") == "string" else [one, one]))
    yield from (("invalid", value) for value in ("text", {"a": 1}))
    yield "odd", [None]


def _maps(name: str, schema: Schema) -> Iterator[tuple[Kind, Any]]:
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        yield from (("odd", value) for value in _FREE)
    if name == "template":
        yield from (("odd", value) for value in _TEMPLATES)
    if "additionalProperties" in schema:
        yield "odd", {"some": _sample(schema["additionalProperties"]), "ü": _sample(schema["additionalProperties"])}
        yield "invalid", {"a": {"b": [1]}}
    yield "valid", _sample(schema)
    yield "odd", {"noSuchField": 1}
    yield from (("invalid", value) for value in ("text", ["a"], 7))
