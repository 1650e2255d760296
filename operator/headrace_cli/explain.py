"""`headrace explain`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import typer

from headrace_cli.engine_defaults import engine_defaults
from headrace_cli.manifests import models
from headrace_cli.provenance import Row, explain
from headrace_cli.rendering import checked_spec
from headrace_cli.sources import sources
from headrace_cli.terminal import table
from headrace_cli.values import Image, QueueUrl, ValuesFile, given_names, render_config

_SHOWN = 3
"""Sources that are listed in a line; JSON has all."""


def command(  # noqa: PLR0913, PLR0917 - each is an option
    files: Annotated[list[Path], typer.Argument(help="Files with InferenceModels; - for standard input.")],
    values: ValuesFile = None,
    queue_url: QueueUrl = None,
    image: Image = None,
    format: Annotated[Literal["text", "json"], typer.Option(help="A table, or JSON with all sources.")] = "text",  # noqa: A002
    engine: Annotated[bool, typer.Option("--engine/--no-engine", help="List the engine's own defaults.")] = True,
) -> None:
    """Say of every rendered key which layer set it.

    Layers: spec (the manifest), chart value (--values or an option), chart default, headrace default (the spec's field
    that would change it is named; none: it is fixed), computed (hashes), cluster (the uid), engine default (an
    argument that nobody sets, with the default that the pinned version of the engine has).
    """
    config = render_config(values, queue_url, image)
    given = given_names(values, queue_url, image)
    explained: dict[str, list[Row]] = {}
    for source in sources(files):
        for manifest in models(source):
            spec = checked_spec(manifest, config)
            name = f"{manifest.file}: {manifest.metadata['name']}"
            rows = explain(manifest.metadata, manifest.data["spec"], config, given)
            explained[name] = [*rows, *(engine_defaults(spec) if engine else [])]
    if format == "json":
        _print_json(explained)
    else:
        _print_tables(explained)


def _print_json(explained: dict[str, list[Row]]) -> None:
    rows = [{"model": name, **_object(row)} for name, found in explained.items() for row in found]
    typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))


def _object(row: Row) -> dict[str, object]:
    return {"in": row.place, "key": row.key, "value": row.value, "layer": row.layer, "sources": list(row.sources)}


def _print_tables(explained: dict[str, list[Row]]) -> None:
    for name, found in explained.items():
        title = f"{name}: " if len(explained) > 1 else ""
        for place in dict.fromkeys(row.place for row in found):
            table(f"{title}{place}", ("key", "value", "layer", "set by"), list(_cells(found, place)))


def _cells(found: list[Row], place: str) -> Iterator[tuple[str, str, str, str]]:
    for row in found:
        if row.place == place:
            more = f" and {len(row.sources) - _SHOWN} more" if len(row.sources) > _SHOWN else ""
            value = json.dumps(row.value, ensure_ascii=False)
            yield row.key, value, row.layer, ", ".join(row.sources[:_SHOWN]) + more
