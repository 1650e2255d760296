"""Pods that the API server does not let in: a Deployment's condition ReplicaFailure. Texts of Kubernetes 1.34."""

import re
from functools import partial

from headrace_operator.root_cause.evidence import Evidence
from headrace_operator.root_cause.rule import Lasting, Rule, line_of


def _says(pattern: re.Pattern[str], evidence: Evidence) -> str | None:
    line = line_of(pattern, evidence.refused)
    return f"the API server refuses the workers' pods: {line}" if line else None


def _rule(reason: str, pattern: str, meaning: str, hint: str, lasting: Lasting = "stays") -> Rule:
    return Rule(reason, "the API server", meaning, hint, partial(_says, re.compile(pattern)), lasting)


RULES = (
    _rule(
        "QuotaExceeded",
        r"exceeded quota|failed quota",
        "The namespace's ResourceQuota leaves no room for another worker.",
        "raise the quota that the message names, or ask for fewer replicas or GPUs",
        "passes",
    ),
    _rule(
        "PodSecurityRefused",
        r"violates PodSecurity",
        "spec.template asks for what the namespace's Pod Security level forbids.",
        "take out of spec.template what the message names; Headrace's own pods fit the level restricted",
    ),
    _rule(
        "WebhookUnreachable",
        r"failed calling webhook",
        "An admission webhook of somebody else does not answer, so that no pod can be made.",
        "bring the webhook's service back, or remove its configuration",
        "passes",
    ),
    _rule(
        "WebhookRefused",
        r'admission webhook "[^"]*" denied the request|ValidatingAdmissionPolicy .* denied request',
        "An admission policy of somebody else refuses the workers' pods.",
        "change spec.template to what the message asks for, or except the namespace from the policy",
    ),
    _rule(
        "ServiceAccountMissing",
        r'serviceaccount "[^"]*" not found',
        "The pods' ServiceAccount is not there.",
        "create it, or correct serviceAccountName in spec.template",
        "passes",
    ),
    _rule(
        "PriorityClassMissing",
        r"no PriorityClass with name",
        "The pods' PriorityClass is not there.",
        "create it, or correct priorityClassName",
    ),
    Rule(
        "PodsRefused",
        "the API server",
        "The API server refuses the workers' pods.",
        "change what the message names, mostly in spec.template",
        partial(_says, re.compile(r"\S")),
        fallback=True,
    ),
)
