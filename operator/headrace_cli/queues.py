"""Where a cluster's queues are: their admin ports, reached through the API server."""

import re
from collections.abc import Iterable
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from headrace_api import names
from headrace_cli.errors import Trouble
from headrace_cli.kubectl import Kubectl

Object = dict[str, Any]

_QUEUE = f"{names.LABEL_NAME}=headrace-queue"
_ADMIN = "admin"
"""The name of the port with the queue's metrics; the chart's Service for it is called after it."""
_CLUSTER_HOST = re.compile(r"([^.]+)\.([^.]+)\.svc(\..+)?")


class Place(NamedTuple):
    """The admin Service of a queue."""

    namespace: str
    service: str

    @property
    def path(self) -> str:
        """Of its admin port, at the API server."""
        return f"/api/v1/namespaces/{self.namespace}/services/{self.service}:{_ADMIN}/proxy"


def of(kubectl: Kubectl, models: Iterable[Object]) -> list[Place]:
    """The queues that the models name, else all that may be listed.

    Raises:
        Trouble: the models name none, and none may be listed, or there is none.
    """
    endpoints = {(model.get("status") or {}).get("endpoint") or "" for model in models}
    return sorted({place for endpoint in endpoints if (place := place_of(endpoint))}) or _listed(kubectl)


def place_of(endpoint: str) -> Place | None:
    """The place of a queue by its API's URL; None outside of the cluster's own names."""
    found = _CLUSTER_HOST.fullmatch(urlsplit(endpoint).hostname or "")
    return Place(found[2], f"{found[1]}-{_ADMIN}") if found else None


def _listed(kubectl: Kubectl) -> list[Place]:
    services = kubectl.get("services", f"--selector={_QUEUE}", "--all-namespaces")
    found = [
        Place(one["metadata"]["namespace"], one["metadata"]["name"])
        for one in services
        if any(port.get("name") == _ADMIN for port in one["spec"].get("ports", []))
        and one["spec"].get("clusterIP") != "None"  # that one is for those who talk to every replica
    ]
    if not found:
        raise Trouble(f"there is no queue (a Service with the label {_QUEUE} and a port called {_ADMIN})")
    return found
