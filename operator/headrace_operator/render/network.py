"""The NetworkPolicy: workers are asked for metrics only, and reach names, the queue and model sources only."""

import re
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

from headrace_operator.render import objects
from headrace_operator.render.config import RenderConfig
from headrace_operator.render.objects import Object
from headrace_operator.render.revision import Revision

_DNS_PORTS = (53, 5353)
"""5353 is where OpenShift's DNS pods listen; a policy sees the port behind the Service."""
_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_CLOUD_IDENTITY = (("169.254.169.254/32", 80), ("169.254.170.23/32", 80), ("169.254.169.252/32", 988))
"""Where a pod gets the cloud's credentials for its bucket: instance metadata, EKS pod identity, GKE's server."""
_MIRRORS = ("s3_mirror_config", "gcs_mirror_config")
_BUCKETS = ("s3://", "gs://")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_QUEUE_PODS = {"app.kubernetes.io/name": "headrace-queue"}


def network_policy(
    model: Object, revisions: Iterable[Revision], config: RenderConfig, adapters: Sequence[str] = ()
) -> Object:
    """The policy of the model's workers; the kubelet's probes are not subject to policies.

    Args:
        model: the model's metadata.
        revisions: all that there are workers of: older ones still need their own queue and ports.
        config: the installation's values.
        adapters: sources that are in no revision, for they change while workers run.
    """
    found = list(revisions)
    files = [tomllib.loads(one.worker_file) for one in found]
    ports = {port for file in files for port in _asked_at(file["monitoring"])}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": objects.metadata(model),
        "spec": {
            "podSelector": {"matchLabels": objects.selector(model["name"])},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"ports": [_tcp(port) for port in sorted(ports)]}],
            "egress": list(_egress(model["namespace"], files, [one.template for one in found], config, adapters)),
        },
    }


def _asked_at(monitoring: Object) -> Iterator[int]:
    yield monitoring["metrics_port"]
    yield from monitoring.get("tcp_probes", ())


def _egress(
    namespace: str, files: list[Object], templates: list[Object], config: RenderConfig, adapters: Sequence[str]
) -> Iterator[Object]:
    yield {"ports": [{"port": port, "protocol": protocol} for port in _DNS_PORTS for protocol in ("UDP", "TCP")]}
    urls = {text: port for text in _texts([files, templates]) if (port := _port(text))}
    own = _service(config.queue_url, namespace)
    services = {service for url in urls if (service := _service(url, namespace))}
    if own and own in services:
        yield _to(own[0], podSelector={"matchLabels": _QUEUE_PODS})
    yield from map(_to, sorted({home for home, _ in services - {own}}))
    ports = {443, *urls.values()}
    yield {"ports": [_tcp(port) for port in sorted(ports)]}
    if any(_reads_buckets(file["generator"]) for file in files) or any(one.startswith(_BUCKETS) for one in adapters):
        yield from ({"to": [{"ipBlock": {"cidr": block}}], "ports": [_tcp(port)]} for block, port in _CLOUD_IDENTITY)


def _reads_buckets(generator: Object) -> bool:
    return any(name in generator for name in _MIRRORS) or any(text.startswith(_BUCKETS) for text in _texts(generator))


_Service = tuple[str, str]
"""Namespace and name."""


def _service(url: str, namespace: str) -> _Service | None:
    """The Service that a web address names, in `namespace` unless it says another; None where it names none.

    That a name of two words is one in the internet (`example.com`) and no Service cannot be seen: then the rule that
    follows is for a namespace (`com`) that is not there.
    """
    labels = (urlsplit(url).hostname or "").rstrip(".").split(".")
    if not all(map(_LABEL.fullmatch, labels)) or labels == ["localhost"]:
        return None
    if "svc" in labels[2:]:  # a pod of a StatefulSet has its own name before that of the Service
        end = labels.index("svc", 2)
        return labels[end - 1], labels[end - 2]
    return ((labels[1:] or [namespace])[0], labels[0]) if len(labels) <= 2 else None


def _to(namespace: str, **pods: Object) -> Object:
    """All ports of a namespace, or of some of its pods: a policy sees the port behind a Service, not the URL's."""
    where = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    return {"to": [{"namespaceSelector": where, **pods}]}


def _texts(value: Any) -> Iterator[str]:
    """Every text: the queue, mirrors, proxies and endpoints are all URLs somewhere in the file or the pod."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str):
        yield value.rpartition("=")[2]  # --endpoint-url=http://... is one argument


def _port(url: str) -> int | None:
    """The port of an http(s) or ws(s) URL; None for any other text."""
    try:
        parts = urlsplit(url)
        return (parts.port or _PORTS[parts.scheme]) if parts.hostname and parts.scheme in _PORTS else None
    except ValueError:
        return None


def _tcp(port: int) -> Object:
    return {"port": port, "protocol": "TCP"}
