"""`headrace`: what people run on their own machine or in a pipeline."""

import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn, get_args

import typer

from headrace_api import inference_model as api
from headrace_api.crd import custom_resource_definition
from headrace_api.worker_config import EngineType
from headrace_cli.manifests import Malformed, models, to_yaml
from headrace_operator.observed import Problem
from headrace_operator.plan import read_spec
from headrace_operator.render.children import children
from headrace_operator.render.config import RenderConfig

app = typer.Typer(no_args_is_help=True, help=__doc__, pretty_exceptions_enable=False)


@app.command()
def render(
    files: Annotated[list[Path], typer.Argument(help="Files with InferenceModel manifests; - for standard input.")],
    queue_url: Annotated[
        str, typer.Option(help="The queue's URL as the workers see it.")
    ] = "http://headrace-queue:8080",
    image: Annotated[str, typer.Option(help="The runtime image.")] = "docker.io/headrace/runtime",
) -> None:
    """Print every object that the operator would create, without a cluster."""
    config = RenderConfig(queue_url=queue_url, images=dict.fromkeys(get_args(EngineType), image))
    documents: list[dict[str, Any]] = []
    for path in files:
        try:
            for model in models(_text(path)):
                documents += _rendered(path, model, config)
        except Malformed as error:
            _fail(f"{path}: {error}")
    typer.echo(to_yaml(*documents), nl=False)


@app.command()
def crd() -> None:
    """Print the CustomResourceDefinition of inferencemodels.headrace.dev."""
    typer.echo(to_yaml(custom_resource_definition()), nl=False)


def _rendered(path: Path, model: dict[str, Any], config: RenderConfig) -> list[dict[str, Any]]:
    spec = read_spec(model)
    if isinstance(spec, Problem):
        _fail(f"{path}: {api.KIND} {model['metadata']['name']}: {spec.message}")
    # the API server gives both; a rendering without a cluster has to do without
    metadata = {"namespace": "default", "uid": "00000000-0000-0000-0000-000000000000", **model["metadata"]}
    return children(metadata, spec, config)


def _text(path: Path) -> str:
    if str(path) == "-":
        return sys.stdin.read()
    try:
        return path.read_text()
    except OSError as error:
        _fail(f"{path}: {error.strerror}")


def _fail(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(1)


def main() -> None:
    """Entry point of the console script."""
    app()


if __name__ == "__main__":
    main()
