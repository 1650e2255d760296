"""Models, and what belongs to them, as the cluster has them now."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import typer

from headrace_api import inference_model as api
from headrace_api import names
from headrace_cli.errors import Trouble
from headrace_cli.kubectl import Kubectl

Object = dict[str, Any]
Found = TypeVar("Found")

RESOURCE = f"{api.PLURAL}.{api.GROUP}"
_OURS = f"{names.LABEL_MANAGED_BY}={names.MANAGED_BY}"


def models(kubectl: Kubectl, *, everywhere: bool) -> list[Object]:
    """All models of the namespace, or of the cluster, by namespace and name."""
    found = kubectl.get(RESOURCE, *(["--all-namespaces"] if everywhere else []))
    return sorted(found, key=lambda model: (model["metadata"]["namespace"], model["metadata"]["name"]))


def model(kubectl: Kubectl, name: str) -> Object:
    """The model called `name`.

    Raises:
        Trouble: there is none; the message names those that there are.
    """
    found = kubectl.get(RESOURCE, name)
    if found:
        return found[0]
    others = models(kubectl, everywhere=False)
    there = ", ".join(other["metadata"]["name"] for other in others) or "none"
    where = f"in the namespace {kubectl.namespace}" if kubectl.namespace else "in the context's namespace"
    raise Trouble(f"there is no InferenceModel {name} {where}; there are: {there}")


def worker_selector(name: str | None = None) -> str:
    """The label selector of the worker pods of the model called `name`, or of all models."""
    return f"{_OURS},{names.LABEL_MODEL}" + (f"={name}" if name else "")


def workers(kubectl: Kubectl, name: str) -> list[Object]:
    """The worker pods of one model, by age."""
    found = kubectl.get("pods", f"--selector={worker_selector(name)}")
    return sorted(found, key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]))


def allowed(what: str, look: Callable[[], Found]) -> Found | None:
    """What `look` finds; None, with the reason on stderr, where it may not or cannot, so that the rest is shown."""
    try:
        return look()
    except Trouble as error:
        typer.echo(f"without {what}: {error}", err=True)
        return None


def condition(item: Object, kind: str) -> Mapping[str, str]:
    """A condition of an object; empty when it has none of that type."""
    conditions = (item.get("status") or {}).get("conditions") or []
    return next((one for one in conditions if one["type"] == kind), {})
