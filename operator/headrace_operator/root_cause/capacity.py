"""How many devices are free, and where: told from the nodes and from this operator's own workers. Pure.

Pods of others are not seen, so "free" is what Headrace's own workers leave.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from headrace_operator.observed import Capacity, Node, Object
from headrace_operator.root_cause.evidence import Evidence

_MOST_NODES = 5
_ENDED = frozenset({"Succeeded", "Failed"})


@dataclass(frozen=True)
class Devices:
    """The devices of one kind on one node."""

    node: str
    total: int
    used: int
    """By this operator's workers."""

    @property
    def free(self) -> int:
        """What they leave."""
        return self.total - self.used


def asked(pod: Object) -> dict[str, int]:
    """The devices that a pod asks for: all resources whose name has a domain, by name."""
    found: dict[str, int] = {}
    for container in pod.get("spec", {}).get("containers", []):
        limits: Mapping[str, Any] = (container.get("resources") or {}).get("limits") or {}
        for name, amount in limits.items():
            if is_device(name) and (count := whole(amount)):
                found[name] = found.get(name, 0) + count
    return found


def used(pods: Iterable[Object]) -> dict[tuple[str, str], int]:
    """What pods that have a node and have not ended use, by node and resource."""
    found: dict[tuple[str, str], int] = {}
    for pod in pods:
        node = pod.get("spec", {}).get("nodeName")
        if node and (pod.get("status") or {}).get("phase") not in _ENDED:
            for name, count in asked(pod).items():
                found[node, name] = found.get((node, name), 0) + count
    return found


def free_gpus(nodes: Iterable[Node], in_use: Mapping[tuple[str, str], int], resource: str) -> list[Devices]:
    """The nodes that have devices of this kind, those with most left first."""
    found = [
        Devices(node.name, node.allocatable[resource], in_use.get((node.name, resource), 0))
        for node in nodes
        if node.allocatable.get(resource)
    ]
    return sorted(found, key=lambda one: (-one.free, one.node))


def in_words(evidence: Evidence) -> str:
    """Where devices are free, as a part of a sentence; empty where nodes cannot be read."""
    if evidence.capacity is None:
        return ""
    return "".join(_words(evidence.capacity, evidence.template, name) for name in sorted(asked(evidence.pod)))


def matches(node: Node, template: Object) -> bool:
    """Whether the node has the labels that the pods of a template select and require."""
    selector: Mapping[str, str] = template.get("nodeSelector") or {}
    affinity = (template.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    terms = required.get("nodeSelectorTerms")
    return all(node.labels.get(key) == value for key, value in selector.items()) and (
        terms is None or any(_term(node, term) for term in terms)
    )


def taints(evidence: Evidence) -> list[tuple[str, str, str]] | None:
    """The taints (key, value, effect) that keep the worker from nodes that match otherwise; None: not known."""
    seen = evidence.capacity
    if seen is None:
        return None
    tolerations = evidence.template.get("tolerations") or []
    found = {taint for node in seen.nodes if matches(node, evidence.template) for taint in node.taints}
    return sorted(taint for taint in found if not any(_tolerates(one, taint) for one in tolerations))


def is_device(resource: str) -> bool:
    """Whether a resource is one of devices: its name has a domain that is not Kubernetes' own."""
    domain, slash, _ = resource.partition("/")
    return bool(slash) and not domain.endswith("kubernetes.io")


def whole(amount: object) -> int:
    """A number of devices, which Kubernetes allows to be whole only; 0 for what is none."""
    text = str(amount)
    return int(text) if text.isdecimal() else 0


def _words(seen: Capacity, template: Object, resource: str) -> str:
    nodes = [node for node in seen.nodes if matches(node, template)]
    found = free_gpus(nodes, seen.used, resource)
    if not found:
        return f"; no node that matches has {resource}"
    named = ", ".join(f"{one.node} {one.free} of {one.total}" for one in found[:_MOST_NODES])
    more = f" and {len(found) - _MOST_NODES} more nodes" if len(found) > _MOST_NODES else ""
    return f"; {resource} not used by Headrace: {named}{more}"


def _tolerates(toleration: Mapping[str, Any], taint: tuple[str, str, str]) -> bool:
    key, value, effect = taint
    equal = toleration.get("operator", "Equal") == "Exists" or toleration.get("value", "") == value
    return toleration.get("key", key) == key and toleration.get("effect") in {None, "", effect} and equal


def _term(node: Node, term: Mapping[str, Any]) -> bool:
    labels = [_expression(node.labels, one) for one in term.get("matchExpressions") or []]
    fields = [_expression({"metadata.name": node.name}, one) for one in term.get("matchFields") or []]
    return bool(labels or fields) and all([*labels, *fields])


def _expression(labels: Mapping[str, str], wanted: Mapping[str, Any]) -> bool:
    key, values = wanted["key"], wanted.get("values") or []
    value = labels.get(key)
    match wanted["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
        case "Gt" | "Lt" as operator:
            numbers = [whole(one) for one in (value, values[0])]
            return value is not None and (numbers[0] > numbers[1] if operator == "Gt" else numbers[0] < numbers[1])
        case _:
            return False
