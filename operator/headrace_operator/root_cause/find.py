"""Which rule of the table explains what was observed of a model."""

from collections.abc import Iterator

from headrace_operator.observed import Object, Observed, Problem
from headrace_operator.root_cause.evidence import Evidence, lost, of_deployment, of_pod, worker_status
from headrace_operator.root_cause.table import RULES


def cause(observed: Observed, queue_url: str = "") -> Problem | None:
    """The gravest problem that the Deployment or its pods have, if any.

    Only what is said of the present template counts: a worker of an earlier spec that still fails says nothing of the
    present one.
    """
    deployment = observed.deployment
    if deployment is None or not _current(deployment):
        return None
    evidence = list(_evidence(observed, deployment, queue_url))
    return next((problem for rule in RULES for one in evidence if (problem := rule.problem(one))), None)


def _evidence(observed: Observed, deployment: Object, queue_url: str) -> Iterator[Evidence]:
    own = of_deployment(deployment)
    yield own
    template, connected = deployment["spec"]["template"], _all_connected(observed)
    for pod in observed.pods:
        if (not pod["metadata"].get("deletionTimestamp") or lost(pod)) and _is_of(pod, template):
            yield of_pod(
                pod,
                template.get("spec"),
                observed.capacity,
                queue_url,
                overdue=own.overdue,
                all_connected=connected,
            )


def _all_connected(observed: Observed) -> bool:
    """Whether no worker that has started is missing at the queue: the kubelet asks for readiness a moment later.

    Workers outside the cluster count, too, and may hide one that is missing; it is then told of when it is overdue.
    """
    started = sum(bool(worker_status(pod).get("started")) for pod in observed.pods)
    return observed.load is not None and observed.load.workers >= started


def _current(deployment: Object) -> bool:
    """Whether the Deployment controller has seen the newest template."""
    seen = (deployment.get("status") or {}).get("observedGeneration", 0)
    return bool(seen >= deployment["metadata"].get("generation", 0))


def _is_of(pod: Object, template: Object) -> bool:
    """Whether the pod was made from the template: it has all its annotations, the revision's among them."""
    wanted = (template.get("metadata") or {}).get("annotations") or {}
    has = pod["metadata"].get("annotations") or {}
    return bool(wanted.items() <= has.items())
