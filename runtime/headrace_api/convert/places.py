"""Moving values between two nested documents by a table of places: one table serves both directions."""

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel
from pydantic.alias_generators import to_camel

from headrace_api.convert.imported import LeftOut
from headrace_api.inference_model import InferenceModelSpec

Tree = dict[str, Any]
Places = tuple[tuple[str, str], ...]
"""Pairs of dotted paths: the document's, then the spec's (in the names of the Python fields)."""


def stated(model: BaseModel) -> Tree:
    """What a document says itself, without defaults; a null of a field counts as absent, free-form maps are verbatim.

    `model_dump(exclude_none=True)` would also drop the nulls of a free-form part.
    """
    return _tree(model, with_defaults=False)


def complete(model: BaseModel) -> Tree:
    """The same with every default that is not null."""
    return _tree(model, with_defaults=True)


def _tree(model: BaseModel, *, with_defaults: bool) -> Tree:
    names = [name for name in type(model).model_fields if with_defaults or name in model.model_fields_set]
    plain = {name: _plain(getattr(model, name), with_defaults=with_defaults) for name in names}
    return {name: value for name, value in plain.items() if value is not None} | (model.model_extra or {})


def _plain(value: Any, *, with_defaults: bool) -> Any:
    if isinstance(value, BaseModel):
        return _tree(value, with_defaults=with_defaults)
    if isinstance(value, list):
        return [_plain(item, with_defaults=with_defaults) for item in value]
    return value


def inverse(pairs: Places) -> Places:
    """The table for the other direction."""
    return tuple((ours, theirs) for theirs, ours in pairs)


def move(source: Tree, pairs: Iterable[tuple[str, str]]) -> Tree:
    """A new tree with the values that `source` has at the first path of each pair, put at the second."""
    out: Tree = {}
    for origin, target in pairs:
        found, value = _get(source, origin)
        if found:
            put(out, target, value)
    return out


def put(tree: Tree, path: str, value: Any) -> None:
    """Set a value, making the maps on its way."""
    *way, last = path.split(".")
    for key in way:
        tree = tree.setdefault(key, {})
    tree[last] = value


def _get(tree: Tree, path: str) -> tuple[bool, Any]:
    value: Any = tree
    for key in path.split("."):
        if not isinstance(value, dict) or key not in value:
            return False, None
        value = value[key]
    return True, value


def without_place(spec: InferenceModelSpec, known: Iterable[str], reason: str) -> tuple[LeftOut, ...]:
    """The fields of a spec that differ from their defaults and that no path of `known` covers."""
    covered = set(known)
    paths = [path for path in _changed(spec, "") if not _is_in(path, covered)]
    return tuple(LeftOut(".".join(["spec", *map(to_camel, path.split("."))]), reason) for path in paths)


def _is_in(path: str, covered: set[str]) -> bool:
    parts = path.split(".")
    return any(".".join(parts[:length]) in covered for length in range(1, len(parts) + 1))


def _changed(model: BaseModel, prefix: str) -> list[str]:
    paths: list[str] = []
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if value is None or value == field.default:
            continue
        path = f"{prefix}{name}"
        paths += _changed(value, f"{path}.") if isinstance(value, BaseModel) and _changed(value, "") else [path]
    return paths
