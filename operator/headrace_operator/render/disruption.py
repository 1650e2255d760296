"""The PodDisruptionBudget: a drain takes one worker at a time, and is never blocked for good."""

from headrace_operator.render import objects
from headrace_operator.render.objects import Object


def disruption_budget(model: Object) -> Object:
    """At most one worker of the model is away by a drain.

    `maxUnavailable`, not `minAvailable`: with one replica the latter would let nobody drain the node. That worker is
    replaced elsewhere, and its requests wait in the queue. Workers that are not ready may always be evicted
    (`AlwaysAllow`): one that crashes at every start protects nothing and would block the drain for ever.
    """
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": objects.metadata(model),
        "spec": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": objects.selector(model["name"])},
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }
