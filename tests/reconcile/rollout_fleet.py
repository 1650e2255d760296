"""A model's objects under the operator's decisions, and of Kubernetes' Deployment controller what rollouts need."""

import copy
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from headrace_api.portable import without_nulls
from headrace_operator.observed import Observed, Plan
from headrace_operator.plan import identity, plan
from headrace_operator.render.config import RenderConfig
from headrace_operator.status import status

Object = dict[str, Any]
NOON = datetime(2026, 1, 7, 12, 0, tzinfo=UTC)
"""A Wednesday."""


def config(tag="1"):
    return RenderConfig(queue_url="http://q.headrace.svc:8080", images={"LlamaCppEngine": f"e.org/i:{tag}"})


def new_model():
    engine = {"type": "LlamaCppEngine", "modelId": "a/b"}
    metadata = {"name": "m", "namespace": "models", "uid": "u", "generation": 1, "resourceVersion": "1"}
    return {"metadata": metadata, "spec": {"replicas": 2, "engine": engine}}


@dataclass
class Fleet:
    """What is in the cluster, and the operator that looks at it."""

    model: Object = field(default_factory=new_model)
    config: RenderConfig = field(default_factory=config)
    now: datetime = NOON
    children: dict[tuple[str, str], Object] = field(default_factory=dict)
    pods: list[Object] = field(default_factory=list)
    born: int = 0
    least_ready: int = 0
    """The fewest ready workers that there were during the last run of the controller."""

    # what people do

    def edit(self, **spec):
        self.model["spec"] = {**self.model["spec"], **spec}
        self.model["metadata"]["generation"] += 1
        return self.settle()

    def break_it(self, name="broken"):
        """Ask for workers that never become ready."""
        return self.edit(template={"spec": {"priorityClassName": name}})

    def mend_it(self, name="good"):
        return self.edit(template={"spec": {"priorityClassName": name}})

    def upgrade(self, tag):
        """Another version of the operator, which runs another image; one with "broken" in it never becomes ready."""
        self.config = config(tag)
        return self.settle()

    def approve(self, revision):
        self.model["metadata"].setdefault("annotations", {})["headrace.dev/approve-render"] = revision
        return self.settle()

    # what the operator does

    def plan(self) -> Plan:
        return plan(copy.deepcopy(self.observed()), self.config, self.now)

    def observed(self):
        return Observed(self.model, tuple(self.children.values()), tuple(self.pods))

    def operate(self) -> Plan:
        """Write what is to be written, until nothing is."""
        for _ in range(6):
            decision = self.plan()
            for item in decision.apply:
                self._apply(item)
            for item in decision.delete:
                del self.children[identity(item)]
            writes = (*decision.apply, *decision.delete)
            settled = not any(item["kind"] == "Deployment" for item in writes)
            before = self.model.get("status")
            found = status(
                self.observed(), None, self.config, "2026-01-01T00:00:00Z", settled=settled, decision=decision
            )
            self.model["status"] = found.model_dump(mode="json", by_alias=True)
            if not writes and self.model["status"] == before:
                return decision
        raise AssertionError(f"the operator does not come to rest: {[identity(one) for one in writes]}")

    def _apply(self, item):
        before = self.children.get(identity(item), {})
        live = copy.deepcopy(item)
        live["metadata"]["uid"] = "-".join(identity(item))
        if item["kind"] == "Deployment":
            generation = before.get("metadata", {}).get("generation", 0)
            live["metadata"]["generation"] = generation + (before.get("spec") != live["spec"])
            live["status"] = before.get("status", {})
        self.children[identity(item)] = live

    # what Kubernetes does

    def settle(self, *, late=False) -> Plan:
        """Operator and Deployment controller until both rest; `late`: then the progress deadline is over."""
        decision = self.operate()
        for again in (False, late, False):
            self.control(late=again)
            decision = self.operate()
        return decision

    def control(self, *, late=False):
        deployment = self.children.get(("Deployment", "m"))
        if deployment is None:
            self.pods = []
            return
        deployment["spec"]["template"] = without_nulls(deployment["spec"]["template"])
        self.least_ready = len(ready(self.pods))
        while self._step(deployment["spec"]):
            self.least_ready = min(self.least_ready, len(ready(self.pods)))
        self._report(deployment, late=late)

    def _step(self, spec) -> bool:
        """One pod made or taken away; False when there is nothing to do."""
        wanted, rolling = spec["replicas"], spec["strategy"]["rollingUpdate"]
        new = [pod for pod in self.pods if pod["template"] == spec["template"]]
        old = [pod for pod in self.pods if pod["template"] != spec["template"]]
        if len(new) > wanted:
            return self._end(new[-1])
        if spec.get("paused"):
            return bool(len(ready(new)) == wanted and old) and self._end(old[0])
        if len(new) < wanted and len(self.pods) < wanted + rolling["maxSurge"]:
            return self._begin(spec["template"])
        broken = [pod for pod in old if pod not in ready(old)]
        spare = len(ready(self.pods)) > wanted - rolling["maxUnavailable"]
        if broken or (old and spare):
            return self._end((broken or old)[0])
        return False

    def _begin(self, template) -> bool:
        self.born += 1
        word = "False" if "broken" in json.dumps(template) else "True"
        metadata = {"name": f"p{self.born}", "annotations": dict(template["metadata"].get("annotations", {}))}
        conditions = [{"type": "Ready", "status": word}]
        self.pods.append(
            {"metadata": metadata, "template": copy.deepcopy(template), "status": {"conditions": conditions}}
        )
        return True

    def _end(self, pod) -> bool:
        self.pods.remove(pod)
        return True

    def _report(self, deployment, *, late):
        new = [pod for pod in self.pods if pod["template"] == deployment["spec"]["template"]]
        complete = len(self.pods) == len(ready(new)) == deployment["spec"]["replicas"]
        reason = "NewReplicaSetAvailable" if complete else "ProgressDeadlineExceeded" if late else "ReplicaSetUpdated"
        deployment["status"] = {
            "observedGeneration": deployment["metadata"]["generation"],
            "replicas": len(self.pods),
            "updatedReplicas": len(new),
            "readyReplicas": len(ready(self.pods)),
            "conditions": [{"type": "Progressing", "status": "False" if late else "True", "reason": reason}],
        }

    # what people see

    @property
    def names(self):
        return [pod["metadata"]["name"] for pod in self.pods]

    @property
    def deployment(self):
        return self.children["Deployment", "m"]

    @property
    def config_maps(self):
        return {name for kind, name in self.children if kind == "ConfigMap"}

    def condition(self, kind):
        return next(one for one in self.model["status"]["conditions"] if one["type"] == kind)

    @property
    def rollout(self):
        return self.model["status"]["rollout"]

    @property
    def pending(self):
        return self.model["status"]["pendingRender"]


def ready(pods):
    return [pod for pod in pods if pod["status"]["conditions"][0]["status"] == "True"]


def revisions(pods):
    return {pod["metadata"]["annotations"].get("headrace.dev/revision") for pod in pods}
