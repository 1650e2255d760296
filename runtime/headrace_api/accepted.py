"""What a place in a document accepts, in plain words: for error messages and for the generated field reference.

All of it is read from the JSON schema that pydantic makes of the classes, so that no message can say anything else.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from headrace_api.annotations import VENDOR_NAME, VENDOR_NAME_IN_WORDS

Schema = dict[str, Any]

_KINDS = {
    "integer": "a whole number",
    "number": "a number",
    "string": "a text",
    "boolean": "true or false",
    "array": "a list",
    "object": "a map",
    "null": "null",
}
_BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "less than {}",
}


def resolve(schema: Schema, root: Schema) -> Schema:
    """The schema itself where `schema` is a reference, and X where it is `X | None`."""
    while reference := schema.get("$ref"):
        schema = root.get("$defs", {})[reference.rsplit("/", 1)[-1]]
    options = [option for option in schema.get("anyOf", []) if option.get("type") != "null"]
    return resolve(options[0], root) if len(options) == 1 else schema


def at(root: Schema, path: Sequence[str | int]) -> Schema:
    """The schema of the place at `path`; empty where anything goes or nothing is known."""
    here = resolve(root, root)
    for part in path:
        options = [resolve(option, root) for option in here.get("anyOf", [])] or [here]
        inner = next((found for option in options if (found := _step(option, part)) is not None), None)
        if inner is None:
            return {}
        here = resolve(inner, root)
    return here


def _step(schema: Schema, part: str | int) -> Schema | None:
    if isinstance(part, int):
        found = schema.get("items")
    else:
        found = schema.get("properties", {}).get(part, schema.get("additionalProperties"))
    return found if isinstance(found, dict) else None


def fields(schema: Schema) -> list[str]:
    """The names that a map accepts; empty where it accepts any."""
    return list(schema.get("properties", {}))


def places(root: Schema, name: str) -> Iterator[str]:
    """The dotted paths of all fields of the document that are called `name`."""
    stack: list[tuple[tuple[str, ...], Schema]] = [((), root)]
    while stack:
        path, schema = stack.pop(0)
        for key, value in resolve(schema, root).get("properties", {}).items():
            if key == name:
                yield ".".join((*path, key))
            stack.append(((*path, key), value))


def words(schema: Schema, root: Schema) -> str:
    """What is accepted: `a whole number of at least 1`, `one of PACK, SPREAD`, `a list of texts or whole numbers`."""
    schema = resolve(schema, root)
    if schema.get("pattern") == VENDOR_NAME:
        return VENDOR_NAME_IN_WORDS
    if options := schema.get("anyOf"):
        return _either([words(option, root) for option in options])
    if "const" in schema:
        return f"only {schema['const']}"
    if choices := schema.get("enum"):
        return f"one of {', '.join(map(str, choices))}"
    kind = _KINDS.get(schema.get("type", ""), "anything")
    if schema.get("type") == "array" and schema.get("items"):
        return f"a list, of which each is {words(schema['items'], root)}"
    return kind + _map_of(schema, root) + _limits(schema)


def choices(schema: Schema) -> list[str]:
    """The values that are written out, those of a union's members among them."""
    return [*schema.get("enum", []), *(one for option in schema.get("anyOf", []) for one in option.get("enum", []))]


def _map_of(schema: Schema, root: Schema) -> str:
    if properties := schema.get("properties"):
        return f" with the fields {', '.join(properties)}"
    values = schema.get("additionalProperties")
    return f", of which each value is {words(values, root)}" if isinstance(values, dict) and values else ""


def _limits(schema: Schema) -> str:
    limits = [text.format(f"{schema[key]:g}") for key, text in _BOUNDS.items() if key in schema]
    if schema.get("minLength"):
        limits.append("at least one character" if schema["minLength"] == 1 else f"{schema['minLength']} characters")
    if pattern := schema.get("pattern"):
        limits.append(f"the form {pattern}")
    return f" of {' and '.join(limits)}" if limits else ""


def _either(options: list[str]) -> str:
    return options[0] if len(options) == 1 else f"{', '.join(options[:-1])} or {options[-1]}"
