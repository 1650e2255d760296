"""`headrace diff`."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from headrace_api import inference_model as api
from headrace_api import names
from headrace_cli.changes import Change, change
from headrace_cli.errors import FAILED, TROUBLE, Trouble
from headrace_cli.installation import live_config
from headrace_cli.kubectl import Kubectl
from headrace_cli.manifests import Manifest, models
from headrace_cli.sources import sources
from headrace_cli.terminal import show
from headrace_operator.observed import Observed
from headrace_operator.plan import plan

Object = dict[str, Any]

_RESOURCE = f"{api.PLURAL}.{api.GROUP}"
_CHILDREN = (
    "configmaps,serviceaccounts,services,networkpolicies.networking.k8s.io,poddisruptionbudgets.policy,deployments.apps"
)


def command(
    files: Annotated[list[Path], typer.Argument(help="Files with InferenceModels; - for standard input.")],
    context: Annotated[str | None, typer.Option(help="The kubeconfig context.")] = None,
    namespace: Annotated[
        str | None, typer.Option("--namespace", "-n", help="The namespace of manifests that name none.")
    ] = None,
    format: Annotated[Literal["text", "json"], typer.Option(help="A unified diff, or JSON.")] = "text",  # noqa: A002
) -> None:
    """Show what applying would change; writes nothing.

    First in the model itself, then in the objects that the operator makes for it. Needs kubectl, and the rights of
    kubectl apply: the API server is asked with dry runs. Exit status: 0 no difference, 1 differences, 2 trouble.
    """
    try:
        found = [manifest for source in sources(files) for manifest in models(source)]
    except Trouble as error:
        raise Trouble(error.message, TROUBLE) from None
    changes = [one for manifest in found for one in _changes(manifest, context, namespace)]
    if format == "json":
        typer.echo(json.dumps([one.data() for one in changes], indent=2, ensure_ascii=False))
    else:
        show("".join(one.text() for one in changes), "diff")
    if changes:
        raise typer.Exit(FAILED)


def _changes(manifest: Manifest, context: str | None, namespace: str | None) -> Iterator[Change]:
    """What would change for one model, the model first."""
    kubectl = Kubectl(context, manifest.metadata.get("namespace") or namespace)
    try:
        after = kubectl.would_apply(manifest.data)
    except Trouble as error:
        line = manifest.document.line((*manifest.within, "metadata", "name"))
        raise Trouble(f"{manifest.file}:{line}: {error.message}") from None
    kubectl = Kubectl(context, after["metadata"]["namespace"])
    name = after["metadata"]["name"]
    before = next(iter(kubectl.get(_RESOURCE, name)), None)
    if model := change(before, after):
        yield model
    yield from _children(manifest, kubectl, after)


def _children(manifest: Manifest, kubectl: Kubectl, model: Object) -> Iterator[Change]:
    """What the operator would change: its own decision, on the model as it would be."""
    metadata = model["metadata"]
    live = kubectl.get(_CHILDREN, f"--selector={names.LABEL_MODEL}={metadata['name']}")
    own = [child for child in live if _is_owned(child, metadata["uid"])]
    pods = tuple(kubectl.get("pods", f"--selector={names.LABEL_MODEL}={metadata['name']}"))
    observed = Observed(model=model, children=tuple(own), pods=pods)
    decision = plan(observed, live_config(kubectl, metadata["namespace"]), datetime.now(UTC))
    if decision.problem:
        problem = decision.problem
        raise Trouble(f"{manifest.file}: the operator would change nothing: {problem.reason}: {problem.message}")
    for item in decision.apply:
        if found := change(_live(kubectl, item, own, metadata), kubectl.would_apply_as(item, names.MANAGED_BY)):
            yield found
    yield from (found for child in decision.delete if (found := change(child, None)))


def _live(kubectl: Kubectl, item: Object, own: list[Object], metadata: Object) -> Object | None:
    """The live object of a rendered one; as the operator, not one that belongs to somebody else."""
    kind, name = item["kind"], item["metadata"]["name"]
    for child in own:
        if (child["kind"], child["metadata"]["name"]) == (kind, name):
            return child
    for other in kubectl.get(kind.lower(), name):
        if not _is_owned(other, metadata["uid"]):
            raise Trouble(f"{kind} {name} exists and is not this model's: rename one of them")
        return other
    return None


def _is_owned(child: Object, uid: str) -> bool:
    return any(owner["uid"] == uid for owner in child["metadata"].get("ownerReferences", []))
