"""The one reconcile for all causes: observe, plan, apply, status. Called again until it has nothing left to do."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any, Protocol

import structlog

from headrace_api import names
from headrace_api.inference_model_status import ScalingStatus
from headrace_operator.drift import surplus
from headrace_operator.kinds import key_of
from headrace_operator.observed import Key, Object, Observed, Plan, Problem
from headrace_operator.plan import identity, plan
from headrace_operator.render.config import RenderConfig
from headrace_operator.scaling import decided, deletion_cost
from headrace_operator.status import ready_reason, status
from headrace_operator.status_changes import can_wait, changes, patience_seconds
from headrace_operator.written import Written

_log = structlog.get_logger()

_GOING = Problem("BeingDeleted", "the model is being deleted", permanent=False)


class Refused(Exception):  # noqa: N818
    """The API server does not accept a write and will not accept it later; the message is its own."""


class World(Protocol):
    """What was seen."""

    def observe(self, key: Key) -> Observed | None:
        """The model and all that belongs to it; None when there is no such model."""

    def wrote(self, key: Key, answer: Object) -> None:
        """A child was written; `answer` is what it is now."""

    def lost(self, item: Object) -> None:
        """An object that was observed does not exist."""


class Cluster(Protocol):
    """What can be written."""

    async def get(self, item: Object) -> Object | None:
        """The live object of the same kind and name."""

    async def create(self, item: Object) -> Object | None:
        """Server-side apply that only creates; None when the name is taken; raises Refused."""

    async def apply(self, item: Object) -> Object:
        """Server-side apply; returns the object as it is now; raises Refused."""

    async def remove(self, item: Object, pointers: Sequence[str]) -> Object | None:
        """Take what these JSON pointers name, in turn, from an object as it was read; None when that cannot be done."""

    async def delete(self, item: Object) -> bool:
        """Delete in the background; returns False when there was nothing to delete."""

    async def patch_status(self, model: Object, status: Object) -> Object | None:
        """Merge into the model's status; returns the model, None when it is gone."""

    async def annotate(self, item: Object, annotations: dict[str, str]) -> None:
        """Merge annotations into a live object; nothing happens when it is gone; raises Refused."""

    async def event(self, model: Object, kind: str, reason: str, message: str) -> None:
        """Record an Event."""


class Turns(Protocol):
    """When a model is looked at again."""

    def add_after(self, key: Key, seconds: float) -> None:
        """After so long, though nothing may have been heard of it."""

    def postpone(self, key: Key, seconds: float) -> bool:
        """In a calm moment, later than `seconds`; False when this is the calm moment."""


class Scaler(Protocol):
    """Who decides how many workers a model has."""

    def decide(self, observed: Observed) -> ScalingStatus | None:
        """The decision; None: what the status and the spec say stays."""

    def forget(self, key: Key) -> None:
        """The model is gone."""


class NoScaler:
    """Nobody decides anew: for whoever has no numbers to decide from."""

    def decide(self, observed: Observed) -> ScalingStatus | None:
        """What the status and the spec say stays."""

    def forget(self, key: Key) -> None:
        """Nothing is remembered."""


class AtOnce:
    """No turns but those that the caller takes: nothing waits for a calm moment."""

    def add_after(self, key: Key, seconds: float) -> None:
        """The caller looks again when it likes."""

    def postpone(self, key: Key, seconds: float) -> bool:  # noqa: ARG002
        """Write it now."""
        return False


@dataclass(frozen=True)
class Reconciler:
    """Brings one model at a time to what its spec asks for."""

    world: World
    cluster: Cluster
    config: RenderConfig
    now: Callable[[], str]
    """The time, RFC 3339 in UTC."""
    turns: Turns = field(default_factory=AtOnce)
    scaler: Scaler = field(default_factory=NoScaler)
    written: Written = field(default_factory=Written)
    _settled: dict[Key, "Inputs"] = field(default_factory=dict)
    """What each model was last found settled with: nothing was left to write."""

    async def reconcile(self, key: Key) -> None:
        """Write what is missing and say how it stands.

        A model that is gone or being deleted is left alone: its objects go with it, by their owner references.
        Errors that may pass are raised: the caller tries again later.
        """
        seen = self.world.observe(key)
        if seen is None or seen.model["metadata"].get("deletionTimestamp"):
            self.written.forget(key)
            self.scaler.forget(key)
            self._settled.pop(key, None)
            return
        observed = self.written.overlay(key, seen)
        observed = replace(observed, scaling=self.scaler.decide(observed))
        inputs = versions(observed)
        if self._settled.get(key) == inputs:
            return
        if await self._bring(observed):
            self._settled[key] = inputs

    async def _bring(self, observed: Observed) -> bool:
        """Plan, apply, report; returns whether there was nothing to write and there is nothing to wait for."""
        decision = plan(observed, self.config, datetime.fromisoformat(self.now()))
        if decision.again_seconds is not None:
            self.turns.add_after(key_of(observed.model), decision.again_seconds)
        if decision.waits_for:
            await self._clear_away(observed, decision.waits_for)
        problem = decision.problem
        if problem is None:
            observed = await self._note_scaling(observed)
        if decision.apply:  # one line for all: a thousand new models would be seven thousand lines
            _log.info("applying", kinds=[item["kind"] for item in decision.apply])
        for item in decision.apply:
            problem = problem or await self._apply(observed, item)
        for item in decision.delete:
            await self._delete(observed, item)
        writes = (*decision.apply, *decision.delete)
        workload = any(item["kind"] == "Deployment" for item in writes)
        said = await self._report(observed, problem, decision, settled=not workload)
        return said and not writes and decision.again_seconds is None

    async def _delete(self, observed: Observed, item: Object) -> None:
        """Delete a child; one that is not there was deleted while no watch ran, and is forgotten."""
        _log.info("deleting", kind=item["kind"], name=item["metadata"]["name"])
        if not await self.cluster.delete(item):
            self.world.lost(item)
            self.turns.add_after(key_of(observed.model), 0)

    async def _clear_away(self, observed: Observed, former: Sequence[Object]) -> None:
        """Delete what an earlier model of this name has left, in case nobody else does.

        The garbage collector takes an object that was made anew while its watch was broken for the one that it knows,
        and leaves the first one's objects for ever. Asked first is whether the model that was observed is the newest:
        to an old view the objects of the newest model would look like an earlier one's.
        """
        if await self._still_there(observed.model):
            for item in former:
                await self._delete(observed, item)

    async def _still_there(self, model: Object) -> bool:
        """Whether the model that was observed is the newest of its name, and nobody is deleting it."""
        live = await self.cluster.get(model)
        return (
            live is not None
            and live["metadata"]["uid"] == model["metadata"]["uid"]
            and not live["metadata"].get("deletionTimestamp")
        )

    async def _note_scaling(self, observed: Observed) -> Observed:
        """Write a new number of the autoscaler down before acting on it.

        A first decision follows from the spec alone, so it can be made again and need not be a write of its own.
        """
        before, after = decided.stored(observed.model), observed.scaling
        if after is None or after.decided_by != "autoscaler" or before is None or before == after:
            return observed
        _log.info("scaling", replicas=after.desired_replicas, reason=after.reason)
        status = {"scaling": after.model_dump(mode="json", by_alias=True)}
        if (now := await self.cluster.patch_status(observed.model, status)) is None:
            return observed
        self.written.reported(key_of(observed.model), now)
        return replace(observed, model={**observed.model, "status": now.get("status")})

    async def _apply(self, observed: Observed, item: Object) -> Problem | None:
        """Write a child; what is not there is only created, so that nobody else's object is taken over."""
        if item["kind"] == "Deployment":
            await self._order_workers(observed, item)
        try:
            if child := next((child for child in observed.children if identity(child) == identity(item)), None):
                answer = await self._apply_again(child, item)
            elif (created := await self.cluster.create(item)) is not None:
                answer = created
            elif problem := await self._name_taken(observed, item):
                return problem
            else:
                answer = await self.cluster.apply(item)
        except Refused as error:
            return Problem("ApplyRefused", str(error))
        key = key_of(observed.model)
        self.world.wrote(key, answer)
        self.written.applied(key, item, answer)
        return None

    async def _order_workers(self, observed: Observed, deployment: Object) -> None:
        """Say which workers go first; where that is refused, Kubernetes chooses."""
        try:
            for pod, cost in deletion_cost.costs(observed, deployment):
                await self.cluster.annotate(pod, {deletion_cost.ANNOTATION: str(cost)})
        except Refused as error:
            _log.warning("cannot say which workers go first", error=str(error)[:300])

    async def _apply_again(self, child: Object, item: Object) -> Object:
        """Apply over what is there; a budget whose fields somebody set so that ours do not fit is made anew."""
        try:
            answer = await self.cluster.apply(item)
        except Refused:
            if item["kind"] != "PodDisruptionBudget":
                raise
            await self.cluster.delete(child)
            return await self.cluster.apply(item)
        rendered = {name: value for name, value in item.items() if name != "metadata"}
        added = list(surplus(rendered, answer))
        return (await self.cluster.remove(answer, added) if added else None) or answer

    async def _name_taken(self, observed: Observed, item: Object) -> Problem | None:
        """Whose is the object of this name that no watch has told of? Ours, if only the view is old.

        An object that nobody owns and that this operator applied for a model of this name is taken back: somebody
        removed its owner, or deleted the model without what it owned. Asked first is whether the model is there: one
        that is deleted without what it owns loses its objects before a watch may have told of it, and what it took back
        would be deleted after it.
        """
        live = await self.cluster.get(item)
        owner = observed.model["metadata"]["uid"]
        if live is None or any(one["uid"] == owner for one in live["metadata"].get("ownerReferences", [])):
            return None
        if _left_behind(live, observed.model["metadata"]["name"]):
            return None if await self._still_there(observed.model) else _GOING
        name = item["metadata"]["name"]
        return Problem("NameTaken", f"{item['kind']} {name} exists and is not this model's: rename one of them")

    async def _report(self, observed: Observed, problem: Problem | None, decision: Plan, *, settled: bool) -> bool:
        """Write the status if it changed; returns False when some of it was left for a calm moment."""
        before: dict[str, Any] = observed.model.get("status") or {}
        found = status(observed, problem, self.config, self.now(), settled=settled, decision=decision)
        after = found.model_dump(mode="json", by_alias=True)
        changed = changes(before, after)
        if not changed:
            return True
        key = key_of(observed.model)
        if can_wait(before, changed) and self.turns.postpone(key, patience_seconds(after)):
            return False
        if (now := await self.cluster.patch_status(observed.model, changed)) is not None:
            self.written.reported(key, now)
            await self._tell(observed.model, before, after)
        return True

    async def _tell(self, model: Object, before: Object, after: Object) -> None:
        """Record an Event when the reason of Ready changed; that a new model is being worked on is no news."""
        _, old, _ = ready_reason(before)
        holds, new, message = ready_reason(after)
        if old == new or (not old and new == "Progressing"):
            return
        kind = "Normal" if holds == "True" or new == "Progressing" else "Warning"
        _log.info("status", ready=holds, reason=new)
        await self.cluster.event(model, kind, new, message)


def _left_behind(live: Object, model: str) -> bool:
    """Whether the object was applied for the model called `model` by this operator, and has no owner any more."""
    metadata = live["metadata"]
    applied = any(
        one["manager"] == names.MANAGED_BY and one["operation"] == "Apply" for one in metadata.get("managedFields", [])
    )
    named = (metadata.get("labels") or {}).get(names.LABEL_MODEL) == model
    return applied and named and not metadata.get("ownerReferences")


Inputs = tuple[Any, ...]


def versions(observed: Observed) -> Inputs:
    """What a decision comes from, comparable and small: of each object the uid and the resource version."""
    return tuple(_versions(getattr(observed, one.name)) for one in fields(observed))


def _versions(value: Any) -> Any:
    if isinstance(value, dict) and "metadata" in value:
        return value["metadata"].get("uid"), value["metadata"].get("resourceVersion")
    return tuple(_versions(inner) for inner in value) if isinstance(value, tuple) else value
