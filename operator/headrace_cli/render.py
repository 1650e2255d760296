"""`headrace render`."""

from pathlib import Path
from typing import Annotated

import typer

from headrace_cli.manifests import models
from headrace_cli.rendering import checked_spec, objects
from headrace_cli.sources import sources
from headrace_cli.terminal import show
from headrace_cli.values import Image, QueueUrl, ValuesFile, render_config
from headrace_cli.yaml_text import write

Files = Annotated[list[Path], typer.Argument(help="Files with InferenceModels; - for standard input.")]


def command(files: Files, values: ValuesFile = None, queue_url: QueueUrl = None, image: Image = None) -> None:
    """Print what the operator would create; needs no cluster."""
    config = render_config(values, queue_url, image)
    found = [manifest for source in sources(files) for manifest in models(source)]
    rendered = [item for one in found for item in objects(one.metadata, checked_spec(one, config), config)]
    show(write(*rendered), "yaml")
