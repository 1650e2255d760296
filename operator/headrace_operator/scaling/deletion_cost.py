"""Which workers go first when there are to be fewer: those with the least in flight. Pure.

Kubernetes takes away what is not running or not ready yet, then by the annotation `pod-deletion-cost`. It is written
before a scale-down only: numbers that are kept current would be writes for nothing.
"""

from headrace_operator.observed import Object, Observed

ANNOTATION = "controller.kubernetes.io/pod-deletion-cost"


def costs(observed: Observed, deployment: Object) -> list[tuple[Object, int]]:
    """The pods to annotate before `deployment` is applied, each with its requests in flight.

    None when it does not lower the number of workers or takes all of them, when the queue's numbers are missing, or for
    pods that are annotated so already.
    """
    live = (observed.deployment or {}).get("spec", {})
    wanted = deployment["spec"].get("replicas", 0)
    if not 0 < wanted < live.get("replicas", 0) or observed.load is None:
        return []
    now = [(pod, observed.load.in_flight.get(pod["metadata"]["name"], 0)) for pod in observed.pods if _stays(pod)]
    return [(pod, cost) for pod, cost in now if _cost(pod) != cost]


def _stays(pod: Object) -> bool:
    return not pod["metadata"].get("deletionTimestamp")


def _cost(pod: Object) -> int | str:
    written = (pod["metadata"].get("annotations") or {}).get(ANNOTATION, "0")
    return int(written) if str(written).lstrip("-").isdigit() else written
