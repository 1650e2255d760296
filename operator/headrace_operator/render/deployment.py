"""The Deployment that runs the workers of one revision."""

from dataclasses import dataclass

from headrace_api import names
from headrace_api.inference_model import InferenceModelSpec
from headrace_operator.render import objects
from headrace_operator.render.objects import Object
from headrace_operator.render.revision import Adopted, Revision

_STRATEGIES: dict[str, Object] = {
    "Surge": {"maxSurge": 1, "maxUnavailable": 0},
    "Replace": {"maxSurge": 0, "maxUnavailable": 1},
}
"""One worker at a time: with Surge one more than asked for, with Replace one fewer."""


@dataclass(frozen=True)
class Workload:
    """What the workers shall be made of."""

    revision: Revision | Adopted
    paused: bool = False
    """Whether the rollout stays where it is."""
    failed: str | None = None
    """The note of a rollout that failed, kept on the workload until something else is asked for."""


def deployment(model: Object, spec: InferenceModelSpec, workload: Workload, replicas: int) -> Object:
    """The workload: so many workers of the revision."""
    name = model["name"]
    note = {names.ANNOTATION_FAILED_ROLLOUT: workload.failed} if workload.failed else {}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {**objects.metadata(model), "annotations": {**workload.revision.annotations, **note}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": objects.selector(name)},
            "progressDeadlineSeconds": spec.rollout.progress_deadline_seconds,
            "revisionHistoryLimit": 3,
            "paused": workload.paused,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": _STRATEGIES[spec.rollout.strategy]},
            "template": workload.revision.pod_template(name),
        },
    }
