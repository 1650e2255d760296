"""Puts what pydantic found wrong in a TOML document into words: the key, the value, and what is accepted."""

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, time
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from headrace_api import annotations
from headrace_api.annotations import VENDOR_NAME_IN_WORDS, Key, VendorName
from headrace_api.suggest import did_you_mean

Problem = tuple[Key, str]
"""Where, for finding the line, and a sentence that begins with the key."""

_LONGEST = 80
_SECRET = "token"  # noqa: S105 (a key's name)
_WORDS: Mapping[Any, str] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    VendorName: VENDOR_NAME_IN_WORDS,
}
_TYPE_ERRORS = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
}
_PHRASES = {
    "Input should be ": "",
    "String should match pattern": "text that matches",
    "String should have": "text of",
}


def problems(error: ValidationError, model: type[BaseModel], document: Mapping[str, Any]) -> Iterator[Problem]:
    """Every problem once: of a union, pydantic reports what is wrong with each of its members."""
    unions: set[Key] = set()
    for details in error.errors():
        key, union, member = annotations.unlabelled(model, details["loc"])
        if union is None:
            yield from _describe(details, key, model)
            continue
        options = annotations.members(annotations.type_at(model, union))
        table = annotations.first_model(options) if isinstance(_value(document, union), dict) else None
        if table is None and union not in unions:
            accepted = " or ".join(dict.fromkeys(_words(option) for option in options))
            yield union, _refusal(union, _value(document, union), accepted)
        elif table is not None and member == table.__name__:
            yield from _describe(details, key, table, known_at=union)
        unions.add(union)


def key_text(key: Key) -> str:
    """A key as TOML writes it, with the index of a list's item in brackets."""
    text = ""
    for part in key:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + (part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else repr(part[:_LONGEST]))
    return text


def shown(value: Any) -> str:
    """A value for a message, on one line and of bearable length."""
    match value:
        case bool():
            return "true" if value else "false"
        case dict():
            return "a table"
        case date() | time():
            return value.isoformat()
        case _:
            text = repr(value)
            return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


def _describe(details: ErrorDetails, key: Key, model: type[BaseModel], known_at: Key = ()) -> Iterator[Problem]:
    name = key_text(key)
    match details["type"]:
        case "extra_forbidden":
            yield key, f"{name}: unknown key{_unknown(key, known_at, model)}"
        case "missing":
            yield key, f"{name}: missing; it is required"
        case "value_error":
            reason = str(details["ctx"]["error"])
            yield from (_said(key, line) for line in reason.splitlines())
        case "literal_error":
            yield key, _refusal(key, details["input"], details["ctx"]["expected"])
        case kind:
            accepted = _TYPE_ERRORS.get(kind) or details["msg"]
            for pydantics, ours in _PHRASES.items():
                accepted = accepted.replace(pydantics, ours)
            yield key, _refusal(key, details["input"], accepted)


def _said(key: Key, reason: str) -> Problem:
    """A validator's own words; one of a whole document names the key itself."""
    if key:
        return key, f"{key_text(key)}: {reason}"
    named = re.match(r"([A-Za-z0-9_.-]+): ", reason)
    return tuple(named[1].split(".")) if named else (), reason


def _refusal(key: Key, value: Any, accepted: str) -> str:
    what = f"a value of type {type(value).__name__}" if key and key[-1] == _SECRET else shown(value)
    return f"{key_text(key)}: {what} is not accepted; accepted: {accepted}"


def _unknown(key: Key, known_at: Key, model: type[BaseModel]) -> str:
    word = str(key[-1])[:_LONGEST]
    parent = annotations.first_model(annotations.members(annotations.type_at(model, key[len(known_at) : -1])))
    if parent is None:
        return ""
    homes = [name for name, field in model.model_fields.items() if word in _fields(field.annotation)]
    moved = f" (it belongs in [{homes[0]}])" if len(homes) == 1 else ""
    return f"{moved or did_you_mean(word, parent.model_fields)}; accepted here: {', '.join(parent.model_fields)}"


def _fields(annotation: Any) -> Iterable[str]:
    model = annotations.first_model(annotations.members(annotation))
    return model.model_fields if model else ()


def _words(annotation: Any) -> str:
    if get_origin(annotation) is list:
        items = " or ".join(_words(option) for option in annotations.members(get_args(annotation)[0]))
        return f"a list (each item {items})"
    if get_origin(annotation) is Literal:
        return ", ".join(map(repr, get_args(annotation)))
    return _WORDS.get(annotation, "a table")


def _value(document: Any, key: Key) -> Any:
    for part in key:
        document = document[part]
    return document
