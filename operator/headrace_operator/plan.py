"""The decision: what to write so that the cluster becomes what the spec asks for. Pure."""

import json
from collections.abc import Container
from datetime import datetime

from headrace_api import names
from headrace_api.inference_model import InferenceModelSpec
from headrace_api.rules.document import read_model
from headrace_operator.drift import differs
from headrace_operator.foreign import left_alone
from headrace_operator.observed import Object, Observed, Plan, Problem, controller_uid
from headrace_operator.remember import remembered
from headrace_operator.render import revision as revisions
from headrace_operator.render.children import children
from headrace_operator.render.config import RenderConfig
from headrace_operator.render.objects import hashed
from headrace_operator.rollout import failure as failures
from headrace_operator.rollout import retention
from headrace_operator.rollout.decision import decide
from headrace_operator.rollout.live import Live
from headrace_operator.scaling import decided

Identity = tuple[str, str]

_NEEDED_BY_PODS = ("ConfigMap", "ServiceAccount")

_LOOK_AGAIN_SECONDS = 2.0
"""While objects of an earlier model are there: how soon to look whether they still are."""


def plan(observed: Observed, config: RenderConfig, now: datetime) -> Plan:
    """Compare what shall be with what is; `now`, with a time zone, is for maintenance windows.

    Children that are as rendered are not written again. Children of an earlier model of the same name (another uid)
    are waited for: the garbage collector is removing them.
    """
    spec = read_spec(observed.model, config)
    if isinstance(spec, Problem):
        return Plan(problem=spec)
    if problem := _cannot_run(spec, config):
        return Plan(problem=problem)
    uid = observed.model["metadata"]["uid"]
    live = {identity(child): child for child in observed.own}
    if former := tuple(child for child in observed.children if controller_uid(child) != uid):
        told = ", ".join(sorted(" ".join(identity(child)) for child in former))
        message = f"the objects of an earlier model of this name are still being deleted: {told}"
        problem = Problem("WaitingForDeletion", message, permanent=False)
        return Plan(problem=problem, waits_for=former, again_seconds=_LOOK_AGAIN_SECONDS)
    return _differences(observed, spec, config, live, now)


def _differences(
    observed: Observed, spec: InferenceModelSpec, config: RenderConfig, live: dict[Identity, Object], now: datetime
) -> Plan:
    metadata = observed.model["metadata"]
    decision = decide(observed, spec, revisions.render(metadata["name"], spec, config), now)
    replicas, scaling = decided.replicas(observed, spec), decided.current(observed)
    others = Live(observed).others(than=decision.workload.revision.name)
    found = children(metadata, spec, config, decision.workload, others, replicas)
    if decision.pending:  # for people to read before they approve
        found.append(hashed(revisions.config_map(metadata, spec, decision.pending)))
    wanted = {identity(child): left_alone(child, live.get(identity(child)), scaling) for child in found}
    needed = {("ConfigMap", name) for name in retention.needed(observed, decision.ready_revision)}
    write = [one for key, one in wanted.items() if key not in live or _drifted(one, live[key], observed)]
    return Plan(
        apply=tuple(_in_turn(write, live)),
        delete=tuple(child for key, child in live.items() if key not in wanted.keys() | needed),
        again_seconds=(decision.again_at - now).total_seconds() if decision.again_at else None,
        rollout=decision.status,
        worker_file=decision.workload.revision.worker_file,
        failure=Problem(failures.REASON, decision.failure.message) if decision.failure and spec.enabled else None,
        pending_render=decision.pending_render,
    )


def _in_turn(write: list[Object], live: Container[Identity]) -> list[Object]:
    """What is written, in the order that a refusal of the workload asks for.

    Its older pods then go on: what they stand behind is changed only once the workload was taken. What is missing is
    made in any case, and nothing runs yet that a first workload's other objects could be wrong for.
    """
    if not any(one["kind"] == "Deployment" and identity(one) in live for one in write):
        return write
    first = [one for one in write if one["kind"] in _NEEDED_BY_PODS or identity(one) not in live]
    last = [one for one in write if one not in first]
    return first + sorted(last, key=lambda one: one["kind"] != "Deployment")


def _drifted(rendered: Object, live: Object, observed: Observed) -> bool:
    """Whether a child has to be written again."""
    metadata = live["metadata"]
    confirmed = observed.confirmed.get(metadata.get("uid", ""))
    same = confirmed and confirmed.content_hash == rendered["metadata"]["annotations"][names.ANNOTATION_HASH]
    if confirmed and same and metadata.get("resourceVersion") == confirmed.resource_version:
        return False  # whatever is different now was so after the write, too
    if _metadata_differs(rendered["metadata"], metadata):
        return True
    if confirmed and confirmed.generation is not None and metadata.get("generation") == confirmed.generation:
        return not same
    return differs({**rendered, "metadata": {}}, live)


def _metadata_differs(rendered: Object, live: Object) -> bool:
    """Whether labels, annotations or the owner are not as rendered; owners that others added are theirs."""
    (own,) = rendered["ownerReferences"]
    rest = {name: value for name, value in rendered.items() if name != "ownerReferences"}
    return all(differs(own, one) for one in live.get("ownerReferences") or []) or differs(rest, live)


def read_spec(model: Object, config: RenderConfig) -> InferenceModelSpec | Problem:
    """The model's spec, or what is wrong with it: the errors that the webhook and `headrace lint` tell, too."""
    metadata = {name: value for name, value in model["metadata"].items() if name not in _CHANGING}
    return _read_spec(json.dumps({**model, "metadata": metadata, "status": None}), config)


_CHANGING = frozenset({"generation", "resourceVersion"})
"""Metadata that changes with every write and means nothing for the spec."""


@remembered
def _read_spec(text: str, config: RenderConfig) -> InferenceModelSpec | Problem:
    read = read_model(json.loads(text), config.facts)
    reasons = {_REASONS.get(finding.code, "InvalidSpec") for finding in read.errors}
    reason = reasons.pop() if len(reasons) == 1 else "InvalidSpec"
    return read.spec or Problem(reason, "; ".join(finding.text for finding in read.errors))


_REASONS = {"HR113": "AcceleratorNotAvailable"}
"""Errors that the installation's values may mend, too, and not the spec alone."""


def _cannot_run(spec: InferenceModelSpec, config: RenderConfig) -> Problem | None:
    if config.image_of(spec):
        return None
    offered = ", ".join(sorted(config.images)) or "none"
    return Problem(
        "EngineNotAvailable",
        f"spec.engine.type: this installation has no runtime image for {spec.engine.type}; accepted: {offered} "
        f"(set runtime.images.{_as_key(spec.engine.type)} in the chart's values to offer it)",
    )


def _as_key(name: str) -> str:
    """A name as a key of the chart's values: one with a dot, another distribution's, is in quotes."""
    return f'"{name}"' if "." in name else name


def identity(child: Object) -> Identity:
    """Kind and name: what tells one child of a model from the others."""
    return child["kind"], child["metadata"]["name"]
