"""Pods that no node can take: the scheduler's message, and what is known of the nodes. Texts of Kubernetes 1.34.

A scheduler's message counts each node once, under the first filter that it fails. Taints come before selectors,
selectors before resources; so a node that has too few GPUs was fit in all else, and the rules look in the reverse order.
"""

import re
from dataclasses import dataclass
from functools import partial

from headrace_operator.root_cause import capacity
from headrace_operator.root_cause.evidence import Evidence
from headrace_operator.root_cause.rule import Rule, shorten

_NODES = re.compile(r"^0/(\d+) nodes are available: (.*?)\.?(?: preemption:.*)?$", re.DOTALL)
_PART = re.compile(r"^(\d+) (.*)$", re.DOTALL)
_OWN_TAINTS = r"node\.kubernetes\.io/|node-role\.kubernetes\.io/|node\.cloudprovider\.kubernetes\.io/"
_DEVICE = r"Insufficient [\w.-]+/[\w.-]+"


@dataclass(frozen=True)
class Verdict:
    """The scheduler's message, taken apart."""

    total: int
    """Nodes in the cluster; 0 when the message does not count them."""
    parts: tuple[tuple[int, str], ...]
    """How many nodes fail, of what."""
    text: str
    """The message without what it says of preemption."""

    def failing(self, pattern: str) -> int:
        """How many nodes fail of what the pattern finds."""
        return sum(count for count, text in self.parts if re.search(pattern, text))


def read(message: str) -> Verdict:
    """Take the scheduler's message apart; a message that counts no nodes is kept as it is."""
    found = _NODES.match(message)
    if not found:
        return Verdict(0, (), message)
    texts = [_PART.match(text) for text in re.split(r", (?=\d+ )", found[2])]
    parts = tuple((int(text[1]), text[2]) for text in texts if text)
    return Verdict(int(found[1]), parts, message.split(" preemption:", 1)[0].rstrip("."))


def _devices(evidence: Evidence) -> str | None:
    verdict = read(evidence.unscheduled)
    if not (failing := verdict.failing(_DEVICE)):
        return None
    asked = ", ".join(f"{count} {name}" for name, count in sorted(capacity.asked(evidence.pod).items()))
    others = verdict.total - failing
    rest = f", the other {others} do not fit otherwise" if others else ""
    where = capacity.in_words(evidence)
    return (
        f"worker {evidence.worker} asks for {asked or 'devices'}; {failing} of {verdict.total} nodes would fit but have "
        f"too few free{rest}{where} (scheduler: {shorten(verdict.text)})"
    )


def _says(pattern: str, evidence: Evidence) -> str | None:
    verdict = read(evidence.unscheduled)
    if evidence.gated or not re.search(pattern, verdict.text):
        return None
    return f"no node can take worker {evidence.worker}: {shorten(verdict.text)}"


def _gated(evidence: Evidence) -> str | None:
    if not evidence.gated:
        return None
    return f"worker {evidence.worker} waits to be let in: {shorten(evidence.unscheduled)}"


def _no_match(evidence: Evidence) -> str | None:
    verdict = read(evidence.unscheduled)
    if (
        verdict.failing(_DEVICE)
        or not verdict.failing(_SELECTOR)
        or verdict.failing(rf"untolerated taint \{{(?!{_OWN_TAINTS})")
    ):
        return None
    return _says(_SELECTOR, evidence)


def _taint(evidence: Evidence) -> str | None:
    verdict = read(evidence.unscheduled)
    if verdict.failing(_DEVICE) or not verdict.failing(rf"untolerated taint \{{(?!{_OWN_TAINTS})"):
        return None
    return _says("untolerated taint", evidence)


_SELECTOR = r"didn't match Pod's node affinity/selector|didn't match (?:the )?node selector"

RULES = (
    Rule(
        "SchedulingGated",
        "scheduling",
        "Something, mostly Kueue, has not let the worker in yet.",
        "look at the queue that the pods wait in (kubectl get workloads)",
        _gated,
        "passes",
    ),
    Rule(
        "VolumeNotBound",
        "scheduling",
        "A PersistentVolumeClaim is missing or has no volume.",
        "create the claim in the model's namespace, or look at why it is not bound (kubectl describe pvc)",
        partial(_says, r"PersistentVolumeClaims|persistentvolumeclaim|persistent volumes to bind"),
        "passes",
    ),
    Rule(
        "ResourceClaimPending",
        "scheduling",
        "A device claim of spec.template (DRA) cannot be met.",
        "look at the claim (kubectl describe resourceclaim) and at the driver's ResourceSlices",
        partial(_says, r"resourceclaim|cannot allocate all claims"),
        "passes",
    ),
    Rule(
        "NotEnoughGpus",
        "scheduling",
        "The nodes that would do have too few free GPUs for one more worker.",
        "add GPU nodes, stop other models, or ask for fewer GPUs (spec.scaling)",
        _devices,
        "passes",
    ),
    Rule(
        "NotEnoughResources",
        "scheduling",
        "The nodes that would do have too little free CPU, memory, disk or room for pods.",
        "lower spec.scaling.numCpusPerWorker or the requests in spec.template, or add nodes",
        partial(_says, r"Insufficient [\w-]+(?![\w./-])|Too many pods"),
        "passes",
    ),
    Rule(
        "VolumeElsewhere",
        "scheduling",
        "The volume of the worker is bound to other nodes than those that would do.",
        "use a volume that several nodes can mount, or let the worker run where the volume is",
        partial(_says, r"volume node affinity conflict|exceed max volume count"),
        "passes",
    ),
    Rule(
        "PlacementConstraint",
        "scheduling",
        "Spreading or anti-affinity leaves no node.",
        "loosen spec.scaling.placementStrategy, topologySpreadConstraints or anti-affinity, or add nodes",
        partial(_says, r"topology spread constraints|anti-affinity rules|pod affinity rules"),
        "passes",
    ),
    Rule(
        "UntoleratedTaint",
        "scheduling",
        "Nodes are kept for others by a taint that the worker does not tolerate.",
        "add a toleration in spec.template or in the accelerator's profile",
        _taint,
        "passes",
    ),
    Rule(
        "NoNodeMatches",
        "scheduling",
        "No node has the labels that the worker asks for.",
        "label a node, or correct the node selector or affinity in spec.template or the accelerator's profile",
        _no_match,
        "passes",
    ),
    Rule(
        "NodesNotReady",
        "scheduling",
        "The nodes are cordoned, not ready, or there are none.",
        "look at kubectl get nodes",
        partial(_says, rf"untolerated taint \{{(?:{_OWN_TAINTS})|were unschedulable|no nodes available"),
        "passes",
    ),
    Rule(
        "Unschedulable",
        "scheduling",
        "No node can take the worker.",
        "see what the scheduler says",
        partial(_says, r"\S"),
        "passes",
        fallback=True,
    ),
)
