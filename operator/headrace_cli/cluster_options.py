"""The options that say which cluster and namespace, as kubectl has them."""

from typing import Annotated

import typer

Namespace = Annotated[str | None, typer.Option("--namespace", "-n", help="The namespace; else the context's own.")]
AllNamespaces = Annotated[bool, typer.Option("--all-namespaces", "-A", help="All namespaces.")]
Context = Annotated[str | None, typer.Option(help="The kubeconfig context.")]
Kubeconfig = Annotated[str | None, typer.Option(help="The kubeconfig file.")]
