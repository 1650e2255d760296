"""Fields of the operator's objects that somebody else decides. Pure."""

from headrace_operator.observed import Object
from headrace_operator.trim import REPLICAS_OWNER


def scaled_by_other(live: Object | None) -> bool:
    """Whether a HorizontalPodAutoscaler scales this workload itself, rather than the InferenceModel."""
    return live is not None and REPLICAS_OWNER in live["metadata"]


def left_alone(rendered: Object, live: Object | None) -> Object:
    """The rendered object without what belongs to somebody else: it is neither written nor compared."""
    if not scaled_by_other(live):
        return rendered
    return {**rendered, "spec": {name: value for name, value in rendered["spec"].items() if name != "replicas"}}
