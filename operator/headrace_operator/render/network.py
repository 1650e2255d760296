"""The NetworkPolicy: workers are asked for metrics only, and reach names, the queue and model sources only."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from headrace_api.inference_model import InferenceModelSpec
from headrace_operator.render import objects
from headrace_operator.render.config import RenderConfig
from headrace_operator.render.objects import Object

_DNS_PORTS = (53, 5353)
"""5353 is where OpenShift's DNS pods listen; a policy sees the port behind the Service."""
_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_CLOUD_IDENTITY = (("169.254.169.254/32", 80), ("169.254.170.23/32", 80), ("169.254.169.252/32", 988))
"""Where a pod gets the cloud's credentials for its bucket: instance metadata, EKS pod identity, GKE's server."""
_QUEUE_PODS = {"app.kubernetes.io/name": "headrace-queue"}


def network_policy(model: Object, spec: InferenceModelSpec, config: RenderConfig) -> Object:
    """The policy of the model's workers; the kubelet's probes are not subject to policies."""
    ports = sorted({spec.monitoring.metrics_port, *spec.monitoring.tcp_probes})
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": objects.metadata(model),
        "spec": {
            "podSelector": {"matchLabels": objects.selector(model["name"])},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"ports": [_tcp(port) for port in ports]}],
            "egress": list(_egress(model["namespace"], spec, config)),
        },
    }


def _egress(namespace: str, spec: InferenceModelSpec, config: RenderConfig) -> Iterator[Object]:
    yield {"ports": [{"port": port, "protocol": protocol} for port in _DNS_PORTS for protocol in ("UDP", "TCP")]}
    if spec.queue.url is None:
        yield _own_queue(config.queue_url, namespace)
    urls = [spec.queue.url or config.queue_url, *_urls(spec)]
    ports = sorted({443, *filter(None, map(_port, urls))})
    yield {"ports": [_tcp(port) for port in ports]}
    if spec.engine.s3_mirror or spec.engine.gcs_mirror:
        yield from ({"to": [{"ipBlock": {"cidr": block}}], "ports": [_tcp(port)]} for block, port in _CLOUD_IDENTITY)


def _own_queue(url: str, namespace: str) -> Object:
    """The chart's queue, by its pods: a policy sees the port behind the Service, which need not be the URL's."""
    parts = (urlsplit(url).hostname or "").split(".")
    home = parts[1] if len(parts) > 2 and parts[2] == "svc" else namespace
    where = {"matchLabels": {"kubernetes.io/metadata.name": home}}
    return {"to": [{"namespaceSelector": where, "podSelector": {"matchLabels": _QUEUE_PODS}}]}


def _urls(spec: InferenceModelSpec) -> Iterator[str]:
    """Every URL that the engine's sources and variables, or the pod's, name: mirrors, proxies, endpoints."""
    engine = spec.engine
    yield from _texts([engine.runtime_env.env_vars, spec.template])
    yield from _texts([mirror.model_dump() for mirror in (engine.s3_mirror, engine.gcs_mirror) if mirror])


def _texts(value: Any) -> Iterator[str]:
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
