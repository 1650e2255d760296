"""The PodMonitor, for clusters with the Prometheus operator (`monitoring.coreos.com/v1`)."""

from headrace_operator.render import objects
from headrace_operator.render.objects import Object


def pod_monitor(model: Object, labels: dict[str, str]) -> Object:
    """Prometheus reads every worker's metrics port, whatever its number in a pod of this or an older revision."""
    metadata = objects.metadata(model)
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": {**metadata, "labels": {**labels, **metadata["labels"]}},
        "spec": {
            "selector": {"matchLabels": objects.selector(model["name"])},
            "podMetricsEndpoints": [{"port": "metrics", "path": "/metrics"}],
        },
    }
