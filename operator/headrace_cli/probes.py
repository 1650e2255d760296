"""Other values for every field of a spec, to see what each field decides.

The fields and what they accept come from the CRD's schema, so that a new field is probed as soon as there is one.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from headrace_api import accepted
from headrace_api.crd import custom_resource_definition

Schema = dict[str, Any]
Steps = tuple[str | int, ...]

_TEXTS = ("probe", "http://probe.invalid", "s3://probe/probe/", "gs://probe/probe/", "1")


@dataclass(frozen=True)
class Probe:
    """One field, and specs that differ from the model's in that field only."""

    field: str
    stated: bool
    """Whether the manifest says something about the field."""
    specs: list[dict[str, Any]]


def probes(spec: dict[str, Any]) -> Iterator[Probe]:
    """Probes for every field that the manifest states or could state; some of their specs may not be valid."""
    version = custom_resource_definition()["spec"]["versions"][0]
    schema = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    yield from _probes(spec, schema, spec, ())


def _probes(spec: dict[str, Any], schema: Schema, value: Any, path: Steps) -> Iterator[Probe]:
    if "properties" in schema:
        given = value if isinstance(value, dict) else {}
        fields = {name: schema["properties"].get(name, {}) for name in (*schema["properties"], *given)}
        for name, inner in fields.items():
            yield from _probes(spec, inner, given.get(name), (*path, name))
    elif isinstance(value, dict) and value:
        for name, item in value.items():
            yield from _probes(spec, _inner(schema), item, (*path, name))
    elif isinstance(value, list) and value:
        for at, item in enumerate(value):
            yield from _probes(spec, schema.get("items", {}), item, (*path, at))
    else:
        stated = _at(spec, path) is not None
        others = list(_others(schema, value if stated else None))
        yield Probe(_text(path), stated, [changed for other in others if (changed := _with(spec, path, other))])


def _inner(schema: Schema) -> Schema:
    inner = schema.get("additionalProperties")
    return inner if isinstance(inner, dict) else {}


def _others(schema: Schema, value: Any) -> Iterator[Any]:
    """Values other than `value`, the likeliest to be accepted first; several where one may have no visible effect."""
    now = value if value is not None else schema.get("default")
    if choices := accepted.choices(schema):
        yield from (other for other in choices if other != now)
        return
    match schema.get("type") or _TYPES.get(type(value), ""):
        case "boolean":
            yield not now
        case "integer" | "number":
            yield from _numbers(now if now is not None else 1, schema)
        case "string":
            yield from (text for text in _TEXTS if text != now)
            if now:
                yield f"{now} probe"  # keeps what the text has to hold, such as a prompt format's {instruction}
        case "array":
            yield from ([*(value or []), other] for other in _others(schema.get("items", {}), None))
        case "object" if "additionalProperties" in schema:
            yield from ({"probe": other} for other in _others(_inner(schema), None))
        case "object":
            yield {"probe": "probe"}
        case _:
            yield from ("probe", 7)


_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}


def _numbers(now: float, schema: Schema) -> Iterator[float]:
    """Neighbours, and multiples: a quotient of two fields may hide a small change."""
    yield from (now + 1, now * 2 + 1, now * 2, now * 3)
    if schema.get("type") != "integer":
        yield from (now / 2, now / 2 + 0.1)
    yield from (now - 1, 0)


def _at(spec: Any, path: Steps) -> Any:
    for step in path:
        here = isinstance(spec, dict) or (isinstance(spec, list) and isinstance(step, int))
        spec = (spec.get(step) if isinstance(spec, dict) else spec[step]) if here and spec is not None else None
    return spec


def _with(spec: dict[str, Any], path: Steps, value: Any) -> dict[str, Any]:
    """A copy of the spec with another value at `path`; maps on the way are made."""
    changed = copy.deepcopy(spec)
    here: Any = changed
    for step in path[:-1]:
        if isinstance(here, dict) and not isinstance(here.get(step), (dict, list)):
            here[step] = {}
        here = here[step]
    here[path[-1]] = value
    return changed


def _text(path: Steps) -> str:
    """The field, as findings name it; an element of a list of values belongs to the list."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return f"spec{text}"
