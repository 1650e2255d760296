"""Who decides how many workers a model has, and what was decided last: pure.

The truth is `status.scaling` of the model, so that an operator that was killed goes on from there. spec.replicas is
people's, an HPA's or KEDA's: the operator never writes it.
"""

from typing import Literal

from pydantic import ValidationError

from headrace_api.inference_model import Autoscaling, InferenceModelSpec
from headrace_api.inference_model_status import ScalingStatus
from headrace_operator.observed import Object, Observed

Decider = Literal["autoscaler", "spec.replicas", "spec.enabled"]


def replicas(observed: Observed, spec: InferenceModelSpec) -> int:
    """Workers that shall run: the decision of this reconcile, or without one what would be gone on from."""
    if observed.scaling:
        return observed.scaling.desired_replicas
    policy = spec.deployment.autoscaling
    return last_replicas(observed, policy) if spec.enabled and policy else spec.first_replicas


def last_replicas(observed: Observed, policy: Autoscaling) -> int:
    """What the autoscaler goes on from.

    The last decision; of a model that has none yet, what runs already; of a new model, or one that was switched off,
    `initialReplicas`.
    """
    before = stored(observed.model)
    if before:
        return policy.first_replicas if before.decided_by == "spec.enabled" else before.desired_replicas
    running = (observed.deployment or {}).get("spec", {})
    return int(running.get("replicas", policy.first_replicas))


def current(observed: Observed) -> ScalingStatus | None:
    """The decision of this reconcile, or without one the last one; None when there is none."""
    return observed.scaling or stored(observed.model)


def stored(model: Object) -> ScalingStatus | None:
    """The decision in the model's status; None when there is none that this version understands."""
    try:
        return ScalingStatus.model_validate((model.get("status") or {}).get("scaling"))
    except ValidationError:
        return None


def autoscaling(model: Object) -> Autoscaling | None:
    """The policy of a model, read from a spec that need not be valid; None when there is none that can be read."""
    deployment = (model.get("spec") or {}).get("deployment")
    if not isinstance(deployment, dict) or deployment.get("autoscaling") is None:
        return None
    try:
        return Autoscaling.model_validate(deployment["autoscaling"])
    except ValidationError:
        return None


def without_autoscaler(model: Object, now: str) -> ScalingStatus | None:
    """The decision that spec.enabled or spec.replicas make; None for a spec that cannot be read."""
    spec = model.get("spec") or {}
    if spec.get("enabled") is False:
        return _decision(model, 0, "spec.enabled", "spec.enabled is false", now)
    wanted = spec.get("replicas", 1)
    if not isinstance(wanted, int) or wanted < 0:
        return None
    return _decision(model, wanted, "spec.replicas", f"spec.replicas is {wanted}", now)


def by_autoscaler(model: Object, wanted: int, reason: str, now: str) -> ScalingStatus:
    """The autoscaler's decision; `reason` is empty when it leaves the number as it was."""
    before = stored(model)
    if not reason:
        first = before is None or before.decided_by != "autoscaler"
        reason = f"begins with {wanted}" if before is None or first else before.reason
    return _decision(model, wanted, "autoscaler", reason, now)


def _decision(model: Object, wanted: int, decider: Decider, reason: str, now: str) -> ScalingStatus:
    """With the time of the last decision while that is the same, whatever reason was shown for it."""
    before = stored(model)
    same = before and (before.desired_replicas, before.decided_by) == (wanted, decider)
    return ScalingStatus(
        desired_replicas=wanted, decided_by=decider, reason=reason, time=before.time if before and same else now
    )
