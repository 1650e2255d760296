"""`headrace top`."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal

import typer

from headrace_api import names
from headrace_cli import live, queues, terminal, top_workers
from headrace_cli.cluster_options import AllNamespaces, Context, Kubeconfig, Namespace
from headrace_cli.errors import Trouble
from headrace_cli.kubectl import Kubectl
from headrace_cli.top_usage import Usage, accelerators, token_rates, tokens

Object = dict[str, Any]

_SORTS: dict[str, Callable[[Usage], Any]] = {
    "load": lambda one: (-(one.queued + one.running), one.namespace, one.name),
    "gpus": lambda one: (-(one.accelerators or 0), one.namespace, one.name),
    "tokens": lambda one: (-(one.tokens or 0.0), one.namespace, one.name),
    "name": lambda one: (one.namespace, one.name),
}


def command(  # noqa: PLR0913, PLR0917  # options
    name: Annotated[str | None, typer.Argument(metavar="[MODEL]", help="The workers of one model.")] = None,
    namespace: Namespace = None,
    all_namespaces: AllNamespaces = False,
    sort: Annotated[Literal["load", "gpus", "tokens", "name"], typer.Option(help="Which model comes first.")] = "load",
    seconds: Annotated[float, typer.Option(min=0, help="How long to count tokens; 0: not at all.")] = 2.0,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Show which models, or workers of one, have how much to do.

    Workers, requests waiting and running, accelerators that the workers hold, and tokens per second from the metrics of
    the queues, where you may reach these through the API server. With a model, a line for each of its workers, from the
    workers' own metrics: its state, how much of the weights it has, requests that it has and can take. Needs kubectl.
    """
    kubectl = Kubectl(context, namespace, kubeconfig)
    if name is not None:
        if all_namespaces:
            raise Trouble("--all-namespaces is for all models; for one give its --namespace")
        model = live.model(kubectl, name)
        top_workers.show(Kubectl(context, model["metadata"]["namespace"], kubeconfig), model, seconds)
        return
    models = live.models(kubectl, everywhere=all_namespaces)
    if not models:
        typer.echo("there are no models here; --all-namespaces looks everywhere", err=True)
        return
    held = live.allowed("accelerators", lambda: _held(kubectl, everywhere=all_namespaces))
    rates = _rates(kubectl, _metrics_paths(kubectl, models), seconds) if seconds else None
    found = [Usage.of(model, held, rates) for model in models]
    columns = ("NAMESPACE", "MODEL", "READY", "QUEUED", "RUNNING", "GPUS", "TOKENS/S")
    terminal.listing(columns, [one.row() for one in sorted(found, key=_SORTS[sort])])


def _held(kubectl: Kubectl, *, everywhere: bool) -> dict[tuple[str, str], int]:
    """The accelerators that workers hold, by namespace and name of their model."""
    held: dict[tuple[str, str], int] = defaultdict(int)
    scope = ["--all-namespaces"] if everywhere else []
    for pod in kubectl.get("pods", f"--selector={live.worker_selector()}", *scope):
        held[pod["metadata"]["namespace"], pod["metadata"]["labels"][names.LABEL_MODEL]] += accelerators(pod)
    return held


def _rates(kubectl: Kubectl, paths: Iterable[str], seconds: float) -> dict[str, float] | None:
    """Tokens per second by the name that clients ask for; None, with the reasons on stderr, where no queue tells."""

    def read(path: str) -> dict[str, float] | None:
        return live.allowed("tokens per second", lambda: tokens(kubectl.raw(path)))

    before = {path: found for path in paths if (found := read(path)) is not None}
    began = time.monotonic()
    time.sleep(seconds if before else 0)
    after = {path: found for path in before if (found := read(path)) is not None}
    if not after:
        return None
    return token_rates([before[path] for path in after], list(after.values()), time.monotonic() - began)


def _metrics_paths(kubectl: Kubectl, models: Iterable[Object]) -> list[str]:
    found = live.allowed("tokens per second", lambda: queues.of(kubectl, models)) or []
    return [f"{place.path}/metrics" for place in found]
