"""The Deployment that runs the workers of one revision."""

from headrace_api import names
from headrace_api.inference_model import InferenceModelSpec
from headrace_operator.render import objects
from headrace_operator.render.objects import Object
from headrace_operator.render.revision import Revision, mounted

_STRATEGIES: dict[str, Object] = {
    "Surge": {"maxSurge": 1, "maxUnavailable": 0},
    "Replace": {"maxSurge": 0, "maxUnavailable": 1},
}
"""One worker at a time: with Surge one more than asked for, with Replace one fewer."""


def deployment(model: Object, spec: InferenceModelSpec, revision: Revision) -> Object:
    """The workload: as many workers of the revision as the spec asks for."""
    name = model["name"]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {**objects.metadata(model), "annotations": {names.ANNOTATION_REVISION: revision.name}},
        "spec": {
            "replicas": spec.desired_replicas,
            "selector": {"matchLabels": objects.selector(name)},
            "progressDeadlineSeconds": spec.rollout.progress_deadline_seconds,
            "revisionHistoryLimit": 3,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": _STRATEGIES[spec.rollout.strategy]},
            "template": mounted(name, revision),
        },
    }
