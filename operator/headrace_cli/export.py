"""`headrace export`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tomli_w
import typer
from pydantic import ValidationError

from headrace_api import worker_config
from headrace_api.convert import ray_serve_llm as to_ray
from headrace_api.convert import registry as to_registry
from headrace_api.convert import worker_config as to_worker
from headrace_api.inference_model import InferenceModelSpec
from headrace_cli.errors import FAILED, Trouble
from headrace_cli.manifests import Manifest, models, readable_spec
from headrace_cli.sources import sources
from headrace_cli.terminal import show
from headrace_cli.yaml_text import write

Form = Literal["registry", "worker-config", "ray-serve-llm"]


def command(
    files: Annotated[list[Path], typer.Argument(help="Files with InferenceModels; - for standard input.")],
    to: Annotated[Form, typer.Option(help="The form to write.")],
    queue_url: Annotated[
        str, typer.Option(help="worker-config: the queue of a model that names none.")
    ] = "http://localhost:8080",
    strict: Annotated[bool, typer.Option("--strict", help="Exit status 1 when anything was left out.")] = False,
) -> None:
    """Give an InferenceModel back in the form of another system.

    What the form has no key for goes to stderr, each with the reason; so does what the rules find wrong.
    """
    found = [_Read(manifest, *readable_spec(manifest)) for source in sources(files) for manifest in models(source)]
    left_out = [line for read in found for line in _left_out(read, to)]
    if to == "worker-config":
        show(_toml(found, queue_url), "toml")
    else:
        converter = to_registry if to == "registry" else to_ray
        show(write(*(converter.from_spec(read.spec) for read in found)), "yaml")
    for line in [*(line for read in found for line in read.errors), *left_out]:
        typer.echo(line, err=True)
    if strict and left_out:
        raise typer.Exit(FAILED)


@dataclass(frozen=True)
class _Read:
    """A manifest that can be given back, also where the rules would keep it from running."""

    manifest: Manifest
    spec: InferenceModelSpec
    errors: list[str]


def _toml(found: list[_Read], queue_url: str) -> str:
    if len(found) != 1:
        listed = ", ".join(str(read.manifest.metadata.get("name")) for read in found)
        raise Trouble(f"a worker_config.toml has one model, and there are {len(found)}: {listed}")
    try:
        config = to_worker.from_spec(found[0].spec, queue_url)
    except ValidationError:
        # a worker's file has fewer shapes than a spec; the rules say what contradicts what
        raise Trouble("\n".join(found[0].errors), FAILED) from None
    return tomli_w.dumps(worker_config.document(config))


def _left_out(read: _Read, to: Form) -> list[str]:
    converter = {"registry": to_registry, "worker-config": to_worker, "ray-serve-llm": to_ray}[to]
    lines = converter.not_exported(read.spec)
    return [f"{read.manifest.file}: {one.key}: left out: {one.reason}" for one in lines]
