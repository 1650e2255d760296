"""Walks the types of a model's fields along the keys of a document, for what pydantic's errors do not say plainly."""

import types
from collections.abc import Iterable
from typing import Annotated, Any, NewType, Union, get_args, get_origin

from pydantic import BaseModel

Key = tuple[str | int, ...]

VendorName = NewType("VendorName", str)
"""A name of somebody else's, as `vendor.Name`."""

VENDOR_NAME = r"^[A-Za-z][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)+$"
"""The form of such a name."""

VENDOR_NAME_IN_WORDS = "a name like vendor.Name"


def unlabelled(model: type[BaseModel], location: Key) -> tuple[Key, Key | None, str]:
    """The key without pydantic's names for members of unions; where the first union is, and its member's name."""
    found: Any = model
    key: Key = ()
    union: Key | None = None
    member = ""
    for part in location:
        options = members(found)
        if len(options) > 1:
            if union is None:
                union, member = key, str(part)
            found = next((option for option in options if getattr(option, "__name__", "") == part), None)
        else:
            key = (*key, part)
            found = inside(options[0], part)
    return key, union, member


def type_at(model: type[BaseModel], key: Key) -> Any:
    """The type of what is at a key."""
    found: Any = model
    for part in key:
        found = inside(members(found)[0], part)
    return found


def inside(annotation: Any, part: str | int) -> Any:
    """The type of a field, or of a list's or table's items."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        field = annotation.model_fields.get(str(part))
        return field.annotation if field else None
    arguments = get_args(annotation)
    return arguments[-1] if arguments else None


def members(annotation: Any) -> list[Any]:
    """The members of a union, None left out; any other type alone."""
    if get_origin(annotation) is Annotated:
        return members(get_args(annotation)[0])
    if get_origin(annotation) in {Union, types.UnionType}:
        return [option for arm in get_args(annotation) if arm is not type(None) for option in members(arm)]
    return [annotation]


def first_model(options: Iterable[Any]) -> type[BaseModel] | None:
    """The first that is a table with known keys."""
    return next((item for item in options if isinstance(item, type) and issubclass(item, BaseModel)), None)
