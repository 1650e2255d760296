"""Pods that no node can take: the scheduler's message, and what is known of the nodes. Texts of Kubernetes 1.34.

A scheduler's message counts each node once, under the first filter that it fails. Taints come before selectors,
selectors before resources; so a node that has too few GPUs was fit in all else, and the order here is the reverse.
"""

import re
from dataclasses import dataclass
from functools import partial

from headrace_operator.root_cause import capacity
from headrace_operator.root_cause.evidence import Evidence
from headrace_operator.root_cause.rule import Rule, shorten

_NODES = re.compile(r"^0/(\d+) nodes are available: (.*)$", re.DOTALL)
_AFTERTHOUGHT = re.compile(r"[.,]*(?: no new claims to deallocate,?)?(?: preemption:.*)?$", re.DOTALL)
"""What the scheduler says of making room by throwing out others."""
_PART = re.compile(r"^(\d+) (.*)$", re.DOTALL)


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
    text = _AFTERTHOUGHT.sub("", message, count=1)
    found = _NODES.match(text)
    if not found:
        return Verdict(0, (), text)
    texts = [_PART.match(text) for text in re.split(r", (?=\d+ )", found[2])]
    parts = tuple((int(text[1]), text[2]) for text in texts if text)
    return Verdict(int(found[1]), parts, text)


def reason_of(evidence: Evidence) -> str | None:
    """The one reason that a scheduler's message comes down to; None when the pod has a node or waits for none."""
    if not evidence.unscheduled:
        return None
    if evidence.gated:
        return "SchedulingGated"
    text = read(evidence.unscheduled).text
    found = [reason for reason, pattern in _SIGNS if re.search(pattern, text)]
    return _of_tainted(evidence, found) if found[0] == "UntoleratedTaint" else found[0]


def _of_tainted(evidence: Evidence, found: list[str]) -> str:
    """Tell a taint that keeps nodes for others from Kubernetes' own, and from one on nodes that would not do anyway."""
    taints = capacity.taints(evidence)
    if taints is None:
        return "UntoleratedTaint"
    if not taints and "NoNodeMatches" in found:
        return "NoNodeMatches"
    return "NodesNotReady" if taints and all(re.match(_OWN_TAINTS, key) for key, *_ in taints) else "UntoleratedTaint"


_OWN_TAINTS = r"node\.kubernetes\.io/|node-role\.kubernetes\.io/|node\.cloudprovider\.kubernetes\.io/"
_DEVICE = r"Insufficient [\w.-]+/[\w.-]+"
_SIGNS = (
    ("VolumeNotBound", r"PersistentVolumeClaims|persistentvolumeclaim|persistent volumes to bind"),
    ("ResourceClaimPending", r"resourceclaim|cannot allocate all claims"),
    ("NotEnoughGpus", _DEVICE),
    ("NotEnoughResources", r"Insufficient (?:cpu|memory|ephemeral-storage|hugepages)|Too many pods"),
    ("VolumeElsewhere", r"volume node affinity conflict|exceed max volume count"),
    ("PlacementConstraint", r"topology spread constraints|affinity rules"),
    ("UntoleratedTaint", rf"untolerated taint(?:\(s\)| \{{(?!{_OWN_TAINTS}))"),
    ("NoNodeMatches", r"didn't match Pod's node affinity/selector"),
    ("NodesNotReady", r"untolerated taint|were unschedulable|no nodes available"),
    ("Unschedulable", ""),
)
"""In the reverse order of the scheduler's filters, after what concerns no node in particular."""


def _says(reason: str, evidence: Evidence) -> str | None:
    if reason_of(evidence) != reason:
        return None
    return f"no node can take worker {evidence.worker}: {shorten(read(evidence.unscheduled).text)}"


def _devices(evidence: Evidence) -> str | None:
    if reason_of(evidence) != "NotEnoughGpus":
        return None
    verdict = read(evidence.unscheduled)
    asked = ", ".join(f"{count} {name}" for name, count in sorted(capacity.asked(evidence.pod).items()))
    failing = verdict.failing(_DEVICE)
    others = verdict.total - failing
    rest = f", the other {others} would not do" if others else ""
    return (
        f"worker {evidence.worker} asks for {asked or 'devices'}; {failing} of {verdict.total} nodes would do but have "
        f"too few free{rest}{capacity.in_words(evidence)}. The scheduler: {shorten(verdict.text)}"
    )


def _kept_for_others(evidence: Evidence) -> str | None:
    message = _says("UntoleratedTaint", evidence)
    taints = capacity.taints(evidence)
    if message is None or not taints:
        return message
    named = ", ".join(f"{key}={value}:{effect}" if value else f"{key}:{effect}" for key, value, effect in taints)
    return f"{message}; taints of the nodes that match: {named}"


def _gated(evidence: Evidence) -> str | None:
    if reason_of(evidence) != "SchedulingGated":
        return None
    return f"worker {evidence.worker} waits to be let in: {shorten(evidence.unscheduled)}"


def _rule(reason: str, meaning: str, hint: str) -> Rule:
    return Rule(reason, "scheduling", meaning, hint, partial(_says, reason), "passes")


RULES = (
    Rule(
        "SchedulingGated",
        "scheduling",
        "Something, mostly Kueue, has not let the worker in yet.",
        "look at the queue that the pods wait in (kubectl get workloads)",
        _gated,
        "passes",
    ),
    _rule(
        "VolumeNotBound",
        "A PersistentVolumeClaim is missing or has no volume.",
        "create the claim in the model's namespace, or look at why it is not bound (kubectl describe pvc)",
    ),
    _rule(
        "ResourceClaimPending",
        "A device claim of spec.template (DRA) cannot be met.",
        "look at the claim (kubectl describe resourceclaim) and at the driver's ResourceSlices",
    ),
    Rule(
        "NotEnoughGpus",
        "scheduling",
        "The nodes that would do have too few free GPUs for one more worker.",
        "add GPU nodes, stop other models, or ask for fewer GPUs (spec.scaling)",
        _devices,
        "passes",
    ),
    _rule(
        "NotEnoughResources",
        "The nodes that would do have too little free CPU, memory, disk or room for pods.",
        "lower spec.scaling.numCpusPerWorker or the requests in spec.template, or add nodes",
    ),
    _rule(
        "VolumeElsewhere",
        "The volume of the worker is bound to other nodes than those that would do.",
        "use a volume that several nodes can mount, or let the worker run where the volume is",
    ),
    _rule(
        "PlacementConstraint",
        "Spreading or anti-affinity leaves no node.",
        "loosen spec.scaling.placementStrategy, topologySpreadConstraints or anti-affinity, or add nodes",
    ),
    Rule(
        "UntoleratedTaint",
        "scheduling",
        "Nodes are kept for others by a taint that the worker does not tolerate.",
        "add a toleration in spec.template or in the accelerator's profile",
        _kept_for_others,
        "passes",
    ),
    _rule(
        "NoNodeMatches",
        "No node has the labels that the worker asks for.",
        "label a node, or correct the node selector or affinity in spec.template or the accelerator's profile",
    ),
    _rule(
        "NodesNotReady",
        "The nodes are cordoned, not ready, or there are none.",
        "look at kubectl get nodes",
    ),
    Rule(
        "Unschedulable",
        "scheduling",
        "No node can take the worker.",
        "see what the scheduler says",
        partial(_says, "Unschedulable"),
        "passes",
        fallback=True,
    ),
)
