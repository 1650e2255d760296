"""What a free-form map may hold: values that YAML, JSON and TOML can all say, so that no form of a model loses one."""

import datetime as dt
import math
from typing import Annotated, Any

from pydantic import AfterValidator


def not_portable(value: Any, path: str = "", *, in_list: bool = False) -> str:
    """The first thing that one of the three formats cannot say, as a sentence with its path; empty when there is none.

    A null directly in a map is allowed: it is left out in TOML, which means the same.
    """
    if isinstance(value, dict):
        if bad := next((key for key in value if not isinstance(key, str)), None):
            return f"{path or 'the map'} has the key {bad!r}: keys are texts (write it in quotes)"
        inner = ((f"{path}.{key}".lstrip("."), item, in_list) for key, item in value.items())
    elif isinstance(value, list):
        inner = ((f"{path}[{at}]", item, True) for at, item in enumerate(value))
    else:
        return _bad_leaf(value, path, in_list=in_list)
    return next((found for where, item, listed in inner if (found := not_portable(item, where, in_list=listed))), "")


def _bad_leaf(value: Any, path: str, *, in_list: bool) -> str:
    if value is None and in_list:
        return f"{path} is null: a list may hold anything else (TOML, the worker's file, has no null)"
    if isinstance(value, float) and not math.isfinite(value):
        return f"{path} is {value}: numbers are finite (JSON, the resource's form, has no other)"
    if isinstance(value, float) and _reads_as_too_large(value):
        return f"{path} is {value}: JSON writes it as a whole number, and those have 64 bits"
    if isinstance(value, int) and not _fits(value):
        return f"{path} is {value}: whole numbers have 64 bits"
    if isinstance(value, dt.date | dt.time):
        return f"{path} is a date or time: write it as a text in quotes (JSON, the resource's form, has no dates)"
    return ""


def _reads_as_too_large(value: float) -> bool:
    """Whether Kubernetes' JSON has it as a whole number: Go writes floats below 1e21 without fraction and exponent."""
    return abs(value) < 1e21 and not _fits(value)


def _fits(value: float) -> bool:
    return -(2**63) <= value < 2**63


def without_nulls(value: Any) -> Any:
    """The value as TOML says it: keys whose value is null are left out, at every depth."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def _check(value: Any) -> Any:
    if problem := not_portable(value):
        raise ValueError(problem)
    return value


def _check_patch(value: Any) -> Any:
    _check(without_nulls(value))
    return value


Portable = Annotated[Any, AfterValidator(_check)]
"""Any value that every format can say."""

PortableMap = Annotated[dict[str, Any], AfterValidator(_check)]
"""A free-form map that every format can say."""

PatchMap = Annotated[dict[str, Any], AfterValidator(_check_patch)]
"""A patch of a Kubernetes object, which is in no TOML file: in its maps null takes away what is there."""
