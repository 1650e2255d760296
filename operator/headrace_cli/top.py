"""`headrace top`."""

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Annotated, Any, Literal

import typer

from headrace_api import names
from headrace_cli import live, terminal
from headrace_cli.cluster_options import AllNamespaces, Context, Kubeconfig, Namespace
from headrace_cli.errors import Trouble
from headrace_cli.kubectl import Kubectl
from headrace_cli.usage import Usage, accelerators, token_rates, tokens

Object = dict[str, Any]

_QUEUE = f"{names.LABEL_NAME}=headrace-queue"
_ADMIN = "admin"
"""The name of the port with the queue's metrics."""
_SORTS: dict[str, Callable[[Usage], Any]] = {
    "load": lambda one: (-(one.queued + one.running), one.namespace, one.name),
    "gpus": lambda one: (-one.accelerators, one.namespace, one.name),
    "tokens": lambda one: (-(one.tokens or 0.0), one.namespace, one.name),
    "name": lambda one: (one.namespace, one.name),
}


def command(  # noqa: PLR0913, PLR0917  # options
    namespace: Namespace = None,
    all_namespaces: AllNamespaces = False,
    sort: Annotated[Literal["load", "gpus", "tokens", "name"], typer.Option(help="What comes first.")] = "load",
    seconds: Annotated[float, typer.Option(min=0, help="How long to count tokens; 0: not at all.")] = 2.0,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Show which models have how much to do.

    Workers, requests waiting and running, accelerators that the workers hold, and tokens per second from the metrics of
    the queues, where you may reach these through the API server. Needs kubectl.
    """
    kubectl = Kubectl(context, namespace, kubeconfig)
    models = live.models(kubectl, everywhere=all_namespaces)
    if not models:
        typer.echo("there are no models here; --all-namespaces looks everywhere", err=True)
        return
    scope = ["--all-namespaces"] if all_namespaces else []
    held: dict[tuple[str, str], int] = defaultdict(int)
    for pod in kubectl.get("pods", f"--selector={live.worker_selector()}", *scope):
        held[pod["metadata"]["namespace"], pod["metadata"]["labels"][names.LABEL_MODEL]] += accelerators(pod)
    rates = _rates(kubectl, seconds) if seconds else None
    found = [Usage.of(model, held, rates) for model in models]
    columns = ("NAMESPACE", "MODEL", "READY", "QUEUED", "RUNNING", "GPUS", "TOKENS/S")
    terminal.listing(columns, [one.row() for one in sorted(found, key=_SORTS[sort])])


def _rates(kubectl: Kubectl, seconds: float) -> dict[str, float] | None:
    """Tokens per second by the name that clients ask for; None, with the reason on stderr, where no queue tells."""
    try:
        paths = _metrics_paths(kubectl)
        began, before = time.monotonic(), [tokens(kubectl.raw(path)) for path in paths]
        time.sleep(seconds)
        after = [tokens(kubectl.raw(path)) for path in paths]
        return token_rates(before, after, time.monotonic() - began)
    except Trouble as error:
        typer.echo(f"without tokens per second: {error}", err=True)
        return None


def _metrics_paths(kubectl: Kubectl) -> list[str]:
    services = kubectl.get("services", f"--selector={_QUEUE}", "--all-namespaces")
    found = [
        f"/api/v1/namespaces/{one['metadata']['namespace']}/services/{one['metadata']['name']}:{_ADMIN}/proxy/metrics"
        for one in services
        if any(port.get("name") == _ADMIN for port in one["spec"].get("ports", []))
    ]
    if not found:
        raise Trouble(f"there is no queue (a Service with the label {_QUEUE} and a port called {_ADMIN})")
    return found
