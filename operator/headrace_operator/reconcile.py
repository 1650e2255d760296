"""The one reconcile for all causes: observe, plan, apply, status. Called again until it has nothing left to do."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import structlog

from headrace_api.inference_model_status import ScalingStatus
from headrace_operator.observed import Key, Object, Observed, Problem
from headrace_operator.plan import plan
from headrace_operator.render.config import RenderConfig
from headrace_operator.scaling import decided, deletion_cost
from headrace_operator.status import ready_reason, status
from headrace_operator.world import key_of
from headrace_operator.written import Written

_log = structlog.get_logger()


class Refused(Exception):  # noqa: N818
    """The API server does not accept a write and will not accept it later; the message is its own."""


class World(Protocol):
    """What was seen."""

    def observe(self, key: Key) -> Observed | None:
        """The model and all that belongs to it; None when there is no such model."""


class Scaler(Protocol):
    """Who decides how many workers a model has."""

    def decide(self, observed: Observed) -> ScalingStatus | None:
        """The decision; None for a spec that cannot be read."""

    def forget(self, key: Key) -> None:
        """The model is gone."""


class Cluster(Protocol):
    """What can be written."""

    async def get(self, item: Object) -> Object | None:
        """The live object of the same kind and name."""

    async def apply(self, item: Object) -> Object:
        """Server-side apply; returns the object as it is now; raises Refused."""

    async def delete(self, item: Object) -> None:
        """Delete in the background."""

    async def patch_status(self, model: Object, status: Object) -> Object | None:
        """Merge into the model's status; returns the model, None when it is gone."""

    async def annotate(self, item: Object, annotations: dict[str, str]) -> None:
        """Merge annotations into a live object; nothing happens when it is gone."""

    async def event(self, model: Object, kind: str, reason: str, message: str) -> None:
        """Record an Event."""


@dataclass(frozen=True)
class Reconciler:
    """Brings one model at a time to what its spec asks for."""

    world: World
    cluster: Cluster
    config: RenderConfig
    now: Callable[[], str]
    """The time, RFC 3339 in UTC."""
    scaler: Scaler
    written: Written = field(default_factory=Written)

    async def reconcile(self, key: Key) -> None:
        """Write what is missing and say how it stands.

        A model that is gone or being deleted is left alone: its objects go with it, by their owner references.
        Errors that may pass are raised: the caller tries again later.
        """
        seen = self.world.observe(key)
        if seen is None or seen.model["metadata"].get("deletionTimestamp"):
            self.written.forget(key)
            self.scaler.forget(key)
            return
        observed = self.written.overlay(key, seen)
        observed = replace(observed, scaling=self.scaler.decide(observed))
        decision = plan(observed, self.config)
        problem = decision.problem
        if problem is None:
            observed = await self._note_scaling(observed)
        for item in decision.apply:
            problem = problem or await self._apply(observed, item)
        for item in decision.delete:
            _log.info("deleting", model=key, kind=item["kind"])
            await self.cluster.delete(item)
        workload = any(item["kind"] == "Deployment" for item in (*decision.apply, *decision.delete))
        await self._report(observed, problem, settled=not workload)

    async def _note_scaling(self, observed: Observed) -> Observed:
        """Write a new number of the autoscaler down before acting on it.

        A first decision follows from the spec alone, so it can be made again and need not be a write of its own.
        """
        before, after = decided.stored(observed.model), observed.scaling
        if after is None or after.decided_by != "autoscaler" or before is None or before == after:
            return observed
        _log.info("scaling", model=key_of(observed.model), replicas=after.desired_replicas, reason=after.reason)
        status = {"scaling": after.model_dump(mode="json", by_alias=True)}
        if (now := await self.cluster.patch_status(observed.model, status)) is None:
            return observed
        self.written.reported(key_of(observed.model), now)
        return replace(observed, model={**observed.model, "status": now.get("status")})

    async def _apply(self, observed: Observed, item: Object) -> Problem | None:
        if problem := await self._name_taken(observed, item):
            return problem
        if item["kind"] == "Deployment":
            for pod, cost in deletion_cost.costs(observed, item):
                await self.cluster.annotate(pod, {deletion_cost.ANNOTATION: str(cost)})
        metadata = observed.model["metadata"]
        _log.info("applying", model=metadata["name"], generation=metadata["generation"], kind=item["kind"])
        try:
            self.written.applied(key_of(observed.model), item, await self.cluster.apply(item))
        except Refused as error:
            return Problem("ApplyRefused", str(error))
        return None

    async def _name_taken(self, observed: Observed, item: Object) -> Problem | None:
        """Look before a first write: server-side apply would take over somebody else's object of the same name."""
        if any(child["kind"] == item["kind"] for child in observed.children):
            return None
        live = await self.cluster.get(item)
        owner = observed.model["metadata"]["uid"]
        if live is None or any(one["uid"] == owner for one in live["metadata"].get("ownerReferences", [])):
            return None
        name = item["metadata"]["name"]
        return Problem("NameTaken", f"{item['kind']} {name} exists and is not this model's: rename one of them")

    async def _report(self, observed: Observed, problem: Problem | None, *, settled: bool) -> None:
        before: dict[str, Any] = observed.model.get("status") or {}
        found = status(observed, problem, self.config, self.now(), settled=settled)
        after = found.model_dump(mode="json", by_alias=True)
        changes = {name: value for name, value in after.items() if value != before.get(name)}
        if not changes:
            return
        if (now := await self.cluster.patch_status(observed.model, changes)) is None:
            return
        self.written.reported(key_of(observed.model), now)
        _, old, _ = ready_reason(before)
        holds, new, message = ready_reason(after)
        if old != new:
            kind = "Normal" if holds == "True" or new == "Progressing" else "Warning"
            _log.info("status", model=observed.model["metadata"]["name"], ready=holds, reason=new)
            await self.cluster.event(observed.model, kind, new, message)
