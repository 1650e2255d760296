"""Rules about the queue and the ports by which workers are watched."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from headrace_api.inference_model import InferenceModelSpec
from headrace_api.rules.finding import Facts, Finding, Rule, at

_SELF = ("localhost", "127.0.0.1", "::1", "0.0.0.0")  # noqa: S104 - addresses that users write, nothing is bound


def _probe_is_no_metrics_port(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    port = spec.monitoring.metrics_port
    if port in spec.monitoring.tcp_probes:
        path = at("monitoring.tcpProbes", spec.monitoring.tcp_probes.index(port))
        yield Finding("HR601", "error", path, f"{port} is the metricsPort", "set another port, or another metricsPort")


def _probes_differ(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    ports = spec.monitoring.tcp_probes
    for index, port in enumerate(ports):
        if port in ports[:index]:
            path = at("monitoring.tcpProbes", index)
            yield Finding("HR602", "error", path, f"{port} is in the list twice", "list each port once")


def _url_is_reachable(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    host = _host(spec.queue.url)
    if host in _SELF or host.endswith(".localhost"):
        hint = "write the queue's Service name, or leave url out for the queue that the chart installed"
        yield Finding("HR603", "warning", at("queue.url"), f"{host} is, inside a pod, the pod itself", hint)


def _url_has_a_host(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    if spec.queue.url is not None and not _host(spec.queue.url):
        message = f"{spec.queue.url!r} names no host, or a port that does not exist"
        yield Finding("HR604", "error", at("queue.url"), message, "write for example https://queue.example.com:8080")


def _token_for_a_foreign_queue(spec: InferenceModelSpec, _: Facts) -> Iterator[Finding]:
    host = _host(spec.queue.url)
    if host and spec.queue.token_secret_ref is None and host not in _SELF:
        message = f"the workers register at {host} without a token"
        hint = "name a Secret in queue.tokenSecretRef if that queue asks for a token"
        yield Finding("HR605", "warning", at("queue.url"), message, hint)


def _host(url: str | None) -> str:
    """The URL's host; empty when there is none or its port is not one."""
    try:
        parts = urlsplit(url or "")
        usable = parts.port != 0
    except ValueError:
        return ""
    return (parts.hostname or "") if usable else ""


RULES = (
    Rule(
        "HR601",
        "error",
        "set monitoring.metricsPort to a port that is not in tcpProbes",
        _probe_is_no_metrics_port,
        # the API server also checks the default of monitoring, in which nothing is filled in yet
        ("Monitoring", "!has(self.metricsPort) || !(self.metricsPort in self.tcpProbes)"),
    ),
    Rule("HR602", "error", "list each port in monitoring.tcpProbes once", _probes_differ),
    Rule("HR603", "warning", "queue.url names a host that a pod can reach", _url_is_reachable),
    Rule("HR604", "error", "queue.url names a host", _url_has_a_host),
    Rule(
        "HR605",
        "warning",
        "a queue of another installation gets no token but that of queue.tokenSecretRef",
        _token_for_a_foreign_queue,
    ),
)
