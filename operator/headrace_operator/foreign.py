"""Fields of the operator's objects that somebody else decides. Pure.

The API server goes on calling a HorizontalPodAutoscaler the owner of `spec.replicas` when it is gone. So what it wrote
is left alone only until there is a newer decision; an autoscaler that is still there then writes again, and is the
newer one.
"""

from headrace_api.inference_model_status import ScalingStatus
from headrace_operator.observed import Object
from headrace_operator.trim import REPLICAS_OWNED_SINCE, REPLICAS_OWNER


def scaled_by_other(live: Object | None, decision: ScalingStatus | None) -> bool:
    """Whether a HorizontalPodAutoscaler scales this workload itself, rather than the InferenceModel."""
    if live is None or REPLICAS_OWNER not in live["metadata"]:
        return False
    since = live["metadata"].get(REPLICAS_OWNED_SINCE)
    return since is None or decision is None or decision.time <= since  # both RFC 3339 in UTC, in whole seconds


def left_alone(rendered: Object, live: Object | None, decision: ScalingStatus | None) -> Object:
    """The rendered object without what belongs to somebody else: it is neither written nor compared."""
    if not scaled_by_other(live, decision):
        return rendered
    return {**rendered, "spec": {name: value for name, value in rendered["spec"].items() if name != "replicas"}}


def told(decision: ScalingStatus | None, live: Object | None) -> ScalingStatus | None:
    """The decision as it is shown: with who decides instead, where that is somebody else."""
    if live is None or decision is None or not scaled_by_other(live, decision):
        return decision
    since = live["metadata"].get(REPLICAS_OWNED_SINCE, "some time ago")
    owner = f"{live['metadata'][REPLICAS_OWNER]} (a HorizontalPodAutoscaler of the Deployment)"
    return decision.model_copy(update={"reason": f"{owner} decides since {since}, until this decision changes"})
