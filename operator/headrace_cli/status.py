"""`headrace status`."""

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from headrace_cli import live, terminal
from headrace_cli.cluster_options import AllNamespaces, Context, Kubeconfig, Namespace
from headrace_cli.errors import Trouble
from headrace_cli.kubectl import Kubectl
from headrace_cli.status_page import Section, sections
from headrace_cli.words import age, cause_and_hint, readiness

Object = dict[str, Any]

_EVENTS = 5


def command(
    name: Annotated[str | None, typer.Argument(metavar="[MODEL]", help="One model; all when left out.")] = None,
    namespace: Namespace = None,
    all_namespaces: AllNamespaces = False,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Say how models are, and why.

    Of one model: its conditions, the root cause and what to do about it, the workers and where they run, rollout,
    scaling and the last events. Without a model: a line for each. Needs kubectl.
    """
    kubectl = Kubectl(context, namespace, kubeconfig)
    now = datetime.now(UTC)
    if name is None:
        _table(live.models(kubectl, everywhere=all_namespaces), now)
        return
    if all_namespaces:
        raise Trouble("--all-namespaces is for all models; for one give its --namespace")
    model = live.model(kubectl, name)
    inside = Kubectl(context, model["metadata"]["namespace"], kubeconfig)
    workers = live.allowed("workers", lambda: live.workers(inside, name)) or []
    events = live.allowed("events", lambda: _events(inside, model)) or []
    for section in sections(model, workers, events, now):
        _show(section)


def _events(kubectl: Kubectl, model: Object) -> list[Object]:
    found = kubectl.get("events", f"--field-selector=involvedObject.uid={model['metadata']['uid']}")
    return sorted(found, key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime")))[-_EVENTS:]


def _show(section: Section) -> None:
    if section.title:
        typer.echo()
        terminal.heading(section.title)
    if section.columns:
        terminal.listing(section.columns, section.rows)
    else:
        width = max(len(row[0]) for row in section.rows)
        for key, value in section.rows:
            typer.echo(f"{key:<{width}}  {value}")


def _table(models: list[Object], now: datetime) -> None:
    if not models:
        typer.echo("there are no models here; --all-namespaces looks everywhere", err=True)
        return
    columns = ("NAMESPACE", "MODEL", "STATE", "SINCE", "WORKERS", "QUEUED", "RUNNING", "WHY")
    terminal.listing(columns, [_row(model, now) for model in models])


def _row(model: Object, now: datetime) -> tuple[str, ...]:
    metadata, status, ready = model["metadata"], model.get("status") or {}, live.condition(model, "Ready")
    cause, _ = cause_and_hint(ready.get("message", ""))
    numbers = (str(status[field]) if status.get(field) is not None else "-" for field in ("queued", "running"))
    return (
        metadata["namespace"],
        metadata["name"],
        readiness(model),
        age(ready.get("lastTransitionTime"), now),
        status.get("workers") or "-",
        *numbers,
        f"{ready.get('reason', '')}: {cause}" if ready and ready["status"] != "True" else ready.get("reason", ""),
    )
