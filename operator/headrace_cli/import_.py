"""`headrace import`."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from headrace_api.convert.imported import LeftOut
from headrace_api.rules.document import check_model
from headrace_cli.errors import FAILED, TROUBLE, Trouble
from headrace_cli.forms import around, ray_configs, toml_form, yaml_documents
from headrace_cli.interpret import Model, Refused, pair_model, ray_model, worker_model
from headrace_cli.sources import Source, sources
from headrace_cli.terminal import show
from headrace_cli.yaml_text import Malformed, write

Files = Annotated[
    list[Path],
    typer.Argument(
        help="Model registry YAMLs, ray.serve.llm configurations, worker_config.toml, env.toml with cap.toml files; "
        "directories with such YAMLs; - for standard input."
    ),
]


def command(
    files: Files,
    name: Annotated[str | None, typer.Option(help="metadata.name, where there is one model.")] = None,
    namespace: Annotated[str | None, typer.Option("--namespace", "-n", help="metadata.namespace.")] = None,
    format: Annotated[  # noqa: A002
        Literal["text", "json"], typer.Option(help="How stderr lists what has no place in an InferenceModel.")
    ] = "text",
    strict: Annotated[bool, typer.Option("--strict", help="Exit status 1 when anything was left out.")] = False,
) -> None:
    """Turn files of other systems into InferenceModels.

    The manifests go to stdout; what has no place in them goes to stderr, each with the reason. What a file is, is told
    from its content. The name is that of a file called <org>--<model>-<parameters>.yaml, else the model's.
    """
    found = list(sources(files))
    try:
        models, left_out = _models(found)
    except Malformed as error:
        raise Trouble(str(error), FAILED) from None
    except Refused as error:
        raise Trouble("\n".join(_line(*said) for said in error.said), FAILED) from None
    manifests = _manifests(models, name, namespace)
    _tell(left_out, format)
    for model, manifest in zip(models, manifests, strict=True):
        _warn(model, manifest)
    show(write(*manifests), "yaml")
    if strict and left_out:
        raise typer.Exit(FAILED)


LeftOutOf = tuple[str, LeftOut]
"""The file, and the key of it."""


def _models(found: Sequence[Source]) -> tuple[list[Model], list[LeftOutOf]]:
    forms = [toml_form(source) for source in found]
    envs = [source for source, form in zip(found, forms, strict=True) if form == "env"]
    if len(envs) > 1:
        raise Trouble(f"{' and '.join(env.file for env in envs)}: more than one env.toml; import them one by one")
    if envs and "cap" not in forms:
        raise Trouble(f"{envs[0].file}: an env.toml names no model; give its cap.toml files, too")
    models: list[Model] = []
    left_out: list[LeftOutOf] = []
    for source, form in zip(found, forms, strict=True):
        if form == "worker-config":
            models.append(worker_model(source))
        elif form == "cap":
            if not envs:
                raise Trouble(f"{source.file}: a cap.toml names no queue; give its env.toml, too")
            models.append(pair_model(envs[0], source))
        elif form is None:
            models += _ray(source, left_out)
    left_out[:0] = [(model.file_of(one.key), one) for model in models for one in model.imported.left_out]
    return models, left_out


def _ray(source: Source, left_out: list[LeftOutOf]) -> Iterator[Model]:
    for document in yaml_documents(source):
        configs = ray_configs(document)
        left_out += [(source.file, one) for one in around(document, configs)]
        yield from (ray_model(config) for config in configs)


def _manifests(models: Sequence[Model], name: str | None, namespace: str | None) -> list[dict[str, Any]]:
    if name is not None and len(models) != 1:
        raise Trouble(f"--name {name}: there are {len(models)} models; accepted with one", TROUBLE)
    files = [model.file for model in models]
    taken: dict[str, str] = {}
    manifests = []
    for model in models:
        # a file's name is the name of its only model
        own = name or _own_name(model, alone=files.count(model.file) == 1)
        if own in taken:
            raise Trouble(f"{model.file}: its model would have the name {own}, as that of {taken[own]}: rename a file")
        taken[own] = model.file
        manifests.append(model.manifest(own, namespace))
    return manifests


def _own_name(model: Model, *, alone: bool) -> str:
    try:
        return model.name() if alone else model.name_of_model()
    except ValueError as error:
        raise Trouble(f"{model.file}: {error}; give one with --name", FAILED) from None


def _tell(left_out: Sequence[LeftOutOf], format: str) -> None:  # noqa: A002
    if format == "json":
        listed = [{"file": file, "key": one.key, "reason": one.reason} for file, one in left_out]
        typer.echo(json.dumps(listed, indent=2, ensure_ascii=False), err=True)
        return
    for file, one in left_out:
        typer.echo(f"{file}: {one.key}: left out: {one.reason}", err=True)


def _warn(model: Model, manifest: dict[str, Any]) -> None:
    """Say at once what the API server would refuse; `headrace lint` says more."""
    for finding in check_model(manifest):
        if finding.severity == "error":
            typer.echo(_line(*model.place_of(finding.path), finding.text), err=True)


def _line(file: str, line: int | None, said: str) -> str:
    return f"{file}: {said}" if line is None else f"{file}:{line}: {said}"
