"""The table of all rules, the gravest first: what is lost, what never gets to run, what runs and fails."""

from headrace_operator.root_cause import containers, engines, refusals, scheduling
from headrace_operator.root_cause.evidence import Evidence, worker_status
from headrace_operator.root_cause.rule import Rule


def _refused(what: str, evidence: Evidence) -> str | None:
    found = evidence.ended.text.split("\n", 1)[0] if evidence.ended else ""
    if f"refuses this worker's {what}" not in found:
        return None
    return f"worker {evidence.worker}: {found}"


def _unregistered(evidence: Evidence) -> str | None:
    status = worker_status(evidence.pod)
    running = "running" in (status.get("state") or {})
    if not running or not evidence.started or status.get("ready") or evidence.all_connected:
        return None
    return (
        f"the engine of worker {evidence.worker} has started, but the worker is not registered with the queue at "
        f"{evidence.queue_url}"
    )


def _overdue(evidence: Evidence) -> str | None:
    status = worker_status(evidence.pod)
    if not evidence.overdue or not status or status.get("ready"):
        return None
    doing = next((one.reason for one in evidence.waiting if one.reason), "it runs")
    return f"worker {evidence.worker} is not ready within spec.rollout.progressDeadlineSeconds; its container: {doing}"


_QUEUE = (
    Rule(
        "QueueTokenRefused",
        "the queue",
        "The queue does not accept the worker's token.",
        "put the queue's worker token into the Secret that spec.queue.tokenSecretRef, or the chart, names",
        lambda evidence: _refused("token", evidence),
    ),
    Rule(
        "RegistrationRefused",
        "the queue",
        "The queue does not accept the worker's registration: its model's name, or the versions do not go together.",
        "read the queue's log (worker refused), and install worker and queue of the same release",
        lambda evidence: _refused("registration", evidence),
    ),
)
_WAITS = (
    Rule(
        "QueueUnreachable",
        "the queue",
        "The engine answers, but the worker has no connection with the queue, or has lost it.",
        "check that the queue runs and that spec.queue.url, DNS and network policies let the worker reach it; "
        "the worker's log has the error",
        _unregistered,
        "passes",
    ),
    Rule(
        "NotReadyInTime",
        "time",
        "A worker has been starting for longer than spec.rollout.progressDeadlineSeconds, and nothing says why.",
        "look at the worker's log and at kubectl describe pod (volumes that cannot be mounted are told only there); "
        "raise spec.rollout.progressDeadlineSeconds if the model is merely large",
        _overdue,
        "passes",
        fallback=True,
    ),
)

RULES: tuple[Rule, ...] = (
    containers.NODE_LOST,
    *refusals.RULES,
    *containers.RULES,
    *_QUEUE,
    *engines.RULES,
    *scheduling.RULES,
    *_WAITS,
    *containers.TURNED_AWAY,
)
"""A pod that was turned away stays beside the one that replaces it, so what the living say comes first."""
