"""What the operator has seen of one model, as plain data: the input of every decision."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headrace_api import names
from headrace_api.inference_model_status import PendingRender, RolloutStatus, ScalingStatus
from headrace_api.load import ModelLoad

Object = dict[str, Any]
Key = tuple[str, str]
"""Namespace and name of an InferenceModel."""


@dataclass(frozen=True)
class Confirmed:
    """A write that the API server accepted: at this generation the object's spec is what was rendered.

    The API server may store other words for the same thing (a quantity, a default), or keep what cannot be undone; the
    generation says that nobody has changed it since, and where there is none (a Service) the resource version.
    """

    content_hash: str
    generation: int | None
    resource_version: str


@dataclass(frozen=True)
class Node:
    """What the scheduler's decisions about a node follow from."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    allocatable: Mapping[str, int] = field(default_factory=dict)
    """Whole devices, by the resource's name."""
    taints: tuple[tuple[str, str, str], ...] = ()
    """Key, value and effect of those that keep workers away."""


@dataclass(frozen=True)
class Capacity:
    """The cluster's nodes, and what this operator's workers use of them."""

    nodes: tuple[Node, ...]
    used: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Devices, by node and resource."""


@dataclass(frozen=True)
class Observed:
    """One model and all that belongs to it."""

    model: Object
    children: tuple[Object, ...] = ()
    """Objects whose controller is an InferenceModel of this name, of all kinds in `kinds.CHILDREN`."""
    pods: tuple[Object, ...] = ()
    load: ModelLoad | None = None
    """None when the queue has not said anything of the model."""
    confirmed: Mapping[str, Confirmed] = field(default_factory=dict)
    """What the API server made of the last writes, by the uid of the object."""
    capacity: Capacity | None = None
    """None when all pods have a node, or nodes cannot be read."""
    scaling: ScalingStatus | None = None
    """How many workers this reconcile goes for; None where nobody was asked."""

    @property
    def own(self) -> tuple[Object, ...]:
        """The children without those that an earlier model of this name has left."""
        uid = self.model["metadata"]["uid"]
        return tuple(child for child in self.children if controller_uid(child) in {None, uid})

    @property
    def deployment(self) -> Object | None:
        """The model's workload; None when there is none."""
        return next((child for child in self.own if child["kind"] == "Deployment"), None)


def controller(item: Object) -> Object | None:
    """The owner reference to the object that controls `item`; None when nothing does."""
    owners = item.get("metadata", {}).get("ownerReferences") or []
    return next((owner for owner in owners if owner.get("controller")), None)


def controller_uid(item: Object) -> str | None:
    """The uid of the object that controls `item`; None when nothing does."""
    owner = controller(item)
    return owner["uid"] if owner else None


def version(item: Object) -> int:
    """The resource version: of two of one object the newer one has the greater."""
    return int(item["metadata"]["resourceVersion"])


@dataclass(frozen=True)
class Problem:
    """Why the model cannot be brought to what the spec asks for."""

    reason: str
    message: str
    permanent: bool = True
    """Whether somebody has to change something; else it may pass by itself."""
    hint: str = ""
    """What to do."""

    @property
    def text(self) -> str:
        """The message with the hint."""
        return f"{self.message}. {names.HINT}{self.hint}" if self.hint else self.message


@dataclass(frozen=True)
class Plan:
    """What to write."""

    apply: tuple[Object, ...] = ()
    """In this order; what comes after one that is refused is not written."""
    delete: tuple[Object, ...] = ()
    waits_for: tuple[Object, ...] = ()
    """What must be gone before anything is written."""
    problem: Problem | None = field(default=None)
    """Set when the spec cannot be rendered; then nothing is written and what runs is left running."""
    again_seconds: float | None = None
    """When to look again though nothing was heard: the decision depends on the time. None: it does not."""
    rollout: RolloutStatus | None = None
    """Which revision runs."""
    worker_file: str | None = None
    """The worker_config.toml of the revision that runs; None: not known."""
    failure: Problem | None = None
    """Set when a rollout was stopped; what else there is to write is written."""
    pending_render: PendingRender | None = None
    """A newer rendering that waits for approval."""
