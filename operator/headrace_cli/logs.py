"""`headrace logs`."""

import re
from collections.abc import Iterable
from typing import Annotated

import typer

from headrace_api import names
from headrace_cli import live, terminal
from headrace_cli.cluster_options import Context, Kubeconfig, Namespace
from headrace_cli.errors import Trouble
from headrace_cli.kubectl import Kubectl

_PREFIXED = re.compile(r"\[pod/(?P<pod>[^/]+)/[^]]+\] ?(?:(?P<time>\d{4}-\S+Z) ?)?(?P<line>.*)")
"""How `kubectl logs --prefix --timestamps` writes a line."""


def command(  # noqa: PLR0913, PLR0917  # options
    name: Annotated[str, typer.Argument(metavar="MODEL", help="The model.")],
    namespace: Namespace = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on showing what is logged.")] = False,
    previous: Annotated[bool, typer.Option("--previous", "-p", help="Of the containers that ended last.")] = False,
    since: Annotated[str | None, typer.Option(help="Only what is newer: 5s, 2m, 3h.")] = None,
    tail: Annotated[int, typer.Option(help="Lines of each worker; -1: all.")] = -1,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Show the logs of all workers of a model.

    In the order of time, each line after the name of its pod. With --follow in the order in which lines come; workers
    that start later are not followed. Needs kubectl.
    """
    kubectl = Kubectl(context, namespace, kubeconfig)
    model = live.model(kubectl, name)
    inside = Kubectl(context, model["metadata"]["namespace"], kubeconfig)
    pods = [pod["metadata"]["name"] for pod in live.workers(inside, name)]
    if not pods:
        ready = live.condition(model, "Ready")
        why = f": {ready['reason']}: {ready['message']}" if ready else "; no operator has looked at it yet"
        raise Trouble(f"the model {name} has no workers{why}")
    options = [f"--selector={live.worker_selector(name)}", f"--container={names.WORKER_CONTAINER}", "--prefix"]
    options += ["--timestamps", "--ignore-errors", f"--tail={tail}", f"--max-log-requests={max(len(pods), 5)}"]
    options += ["--follow"] * follow + ["--previous"] * previous + ([f"--since={since}"] if since else [])
    lines = inside.lines("logs", *options)
    _show(lines if follow else _in_order(lines), pods)


def _in_order(lines: Iterable[str]) -> list[str]:
    """By time; a line without one stays behind the line that it came after."""
    timed: list[tuple[str, str]] = []
    for line in lines:
        found = _PREFIXED.fullmatch(line)
        time = found["time"] if found else None
        timed.append((time or (timed[-1][0] if timed else ""), line))
    return [line for _, line in sorted(timed, key=lambda one: one[0])]


def _show(lines: Iterable[str], pods: list[str]) -> None:
    numbers = {pod: number for number, pod in enumerate(pods)}
    try:
        for line in lines:
            found = _PREFIXED.fullmatch(line)
            if found:
                terminal.prefixed(found["pod"], found["line"], numbers.get(found["pod"], len(numbers)))
            else:
                typer.echo(line, err=True)  # kubectl's own: a worker whose logs cannot be read
    except KeyboardInterrupt:
        raise typer.Exit from None
