"""`headrace crd`."""

import typer

from headrace_api.crd import custom_resource_definition
from headrace_cli.yaml_text import write


def command() -> None:
    """Print the CustomResourceDefinition."""
    typer.echo(write(custom_resource_definition()), nl=False)
