"""The field reference: every field of every document with what it accepts, its default and what it is for."""

import json
from collections.abc import Iterator
from typing import Any

import schemas
from documents import DOCUMENTS, Document

from headrace_api import accepted

Schema = dict[str, Any]
HEAD = """# Field reference

Every field of every document that Headrace reads. What fields mean together is in [rules.md](rules.md).

Editors check and complete these documents with the JSON schemas in `crds/schemas/`:

- YAML, with the YAML language server (VS Code, Neovim, ...): the first line of the file is
  `# yaml-language-server: $schema=./crds/schemas/inference-model.json`.
- TOML, with taplo (Even Better TOML in VS Code): the first line of the file is
  `#:schema ./crds/schemas/worker-config.json`.

Either takes a path, as seen from the file, or the address of a copy.
"""


def page() -> str:
    """The page as Markdown."""
    return HEAD + "".join(_section(document) for document in DOCUMENTS)


def _section(document: Document) -> str:
    root = schemas.described(document)
    here = accepted.at(root, ("spec",)) if document.root == "spec" else root
    rows = [_row(path, schema, root, required=required) for path, schema, required in _walk(here, root, document.root)]
    file = f" JSON schema: `crds/schemas/{document.schema}.json`." if document.schema else ""
    head = "| field | accepts | default | |\n|---|---|---|---|\n"
    return f"\n## {document.title}\n\n{document.about}{file}\n\n{head}{''.join(rows)}"


def _walk(schema: Schema, root: Schema, path: str) -> Iterator[tuple[str, Schema, bool]]:
    """Every field below a schema: its path, its schema with its description, and whether it is required."""
    for name, field in schema.get("properties", {}).items():
        where = f"{path}.{name}".lstrip(".")
        yield where, field, name in schema.get("required", ())
        inner = accepted.resolve(field, root)
        options = [accepted.resolve(option, root) for option in inner.get("anyOf", [])]
        for option in options or [inner]:
            items = accepted.resolve(option.get("items", {}), root)
            yield from _walk(option, root, where)
            yield from _walk(items, root, f"{where}[]")


def _row(path: str, field: Schema, root: Schema, *, required: bool) -> str:
    default = "required" if required else _default(field)
    cells = (f"`{path}`", _accepts(field, root), default, field.get("description", ""))
    return f"| {' | '.join(' '.join(cell.replace('|', chr(92) + '|').split()) for cell in cells)} |\n"


def _accepts(field: Schema, root: Schema) -> str:
    inner = accepted.resolve(field, root)
    if inner.get("properties"):
        return "a map"
    if accepted.resolve(inner.get("items", {}), root).get("properties"):
        return "a list of maps"
    if any(accepted.resolve(option, root).get("properties") for option in inner.get("anyOf", [])):
        return "a map"
    return accepted.words(field, root)


def _default(field: Schema) -> str:
    value = field.get("default")
    if value is None or isinstance(value, dict):
        return ""
    return f"`{json.dumps(value, ensure_ascii=False)}`"
