"""The headless Service: an address for each worker's metrics. Requests do not come this way, workers pull them."""

from headrace_api.inference_model import InferenceModelSpec
from headrace_operator.render import objects
from headrace_operator.render.objects import Object


def service_name(model: str) -> str:
    """The model's name, where it can be that of a Service: unlike a model's, it begins with a letter (DNS-1035)."""
    return model if model[0].isalpha() else f"m-{model[:52]}-{objects.content_hash(model)[:8]}"


def service(model: Object, spec: InferenceModelSpec) -> Object:
    """Workers are in it before they are ready, because a slow start is what one wants to see in the metrics."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": objects.metadata(model, service_name(model["name"])),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": objects.selector(model["name"]),
            "ports": [
                {
                    "name": "metrics",
                    "port": spec.monitoring.metrics_port,
                    "targetPort": spec.monitoring.metrics_port,
                    "protocol": "TCP",
                }
            ],
        },
    }
