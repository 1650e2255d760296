"""Descriptions of fields: a Field's own, or the text under the attribute, which pydantic does not read."""

import ast
import functools
import inspect
import textwrap

from pydantic import BaseModel


@functools.cache
def fields_of(model: type[BaseModel]) -> dict[str, str]:
    """The description of each field by its Python name, as one line; without those that have none."""
    described: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if issubclass(base, BaseModel) and base is not BaseModel:
            described |= _under_attributes(base)
    described |= {name: field.description for name, field in model.model_fields.items() if field.description}
    return {name: " ".join(text.split()) for name, text in described.items() if name in model.model_fields}


def _under_attributes(model: type[BaseModel]) -> dict[str, str]:
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    if not isinstance(definition, ast.ClassDef):
        return {}
    found = {}
    for field, text in zip(definition.body, definition.body[1:], strict=False):
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str):
            found[field.target.id] = text.value.value
    return found
