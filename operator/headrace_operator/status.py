"""The status as a pure function of what was seen, in the conventions of kstatus."""

import contextlib
from dataclasses import dataclass

from pydantic import ValidationError

from headrace_api.convert import worker_config
from headrace_api.inference_model import InferenceModelSpec
from headrace_api.inference_model_status import Condition, ConditionType, InferenceModelStatus
from headrace_api.worker_config import fingerprint
from headrace_operator import root_cause
from headrace_operator.observed import Object, Observed, Problem
from headrace_operator.plan import read_spec
from headrace_operator.render.config import RenderConfig
from headrace_operator.render.objects import selector
from headrace_operator.render.revision import worker_hash


@dataclass(frozen=True)
class _Workers:
    """The numbers that the conditions speak of."""

    desired: int
    ready: int
    updated: bool
    """Whether every worker runs the newest template and the Deployment's own status is current."""

    @property
    def reached(self) -> bool:
        return self.updated and self.ready >= self.desired


def status(
    observed: Observed, problem: Problem | None, config: RenderConfig, now: str, *, settled: bool = True
) -> InferenceModelStatus:
    """What to write into the model's status.

    Args:
        observed: the model and its objects.
        problem: what kept the operator from writing the model's objects, if anything.
        config: the installation's values.
        now: the time, RFC 3339 in UTC, for conditions whose status changes.
        settled: whether the workload was as rendered; else what was observed is older than what was asked for, and
            its ready workers say nothing of the newest spec.
    """
    spec = read_spec(observed.model, config)
    if isinstance(spec, Problem):
        return _refused(observed, problem or spec, now)
    workers = _workers(observed, spec, settled=settled)
    load = observed.load
    name = observed.model["metadata"]["name"]
    return InferenceModelStatus(
        observed_generation=_generation(observed),
        conditions=_stamp(observed, _conditions(observed, spec, workers, problem), now),
        replicas=_count(observed, "replicas"),
        ready_replicas=workers.ready,
        workers=f"{workers.ready}/{workers.desired}",
        selector=",".join(f"{key}={value}" for key, value in sorted(selector(name).items())),
        model_name=spec.model_name,
        queued=load.queued if load else None,
        running=load.running if load else None,
        fingerprint=fingerprint(worker_config.from_spec(spec, config.queue_url).generator),
        config_hash=worker_hash(spec, config),
    )


_Draft = tuple[ConditionType, bool, str, str]


def _refused(observed: Observed, problem: Problem, now: str) -> InferenceModelStatus:
    """A spec that cannot be read: the numbers of what still runs are kept as they were."""
    before = _stored(observed.model.get("status") or {})
    drafts: list[_Draft] = [
        ("Ready", False, problem.reason, problem.message),
        ("Reconciling", False, problem.reason, "nothing is changed until the spec is"),
        ("Stalled", True, problem.reason, problem.message),
        ("ConfigValid", False, problem.reason, problem.message),
    ]
    conditions = _stamp(observed, drafts, now)
    return before.model_copy(update={"observed_generation": _generation(observed), "conditions": conditions})


def _stored(status: Object) -> InferenceModelStatus:
    """The stored status without its conditions, as far as this version understands it."""
    known = {field.alias or name for name, field in InferenceModelStatus.model_fields.items() if name != "conditions"}
    kept = InferenceModelStatus()
    for name in known & set(status):
        with contextlib.suppress(ValidationError):
            field = InferenceModelStatus.model_validate({name: status[name]})
            kept = kept.model_copy(update={one: getattr(field, one) for one in field.model_fields_set})
    return kept


def _workers(observed: Observed, spec: InferenceModelSpec, *, settled: bool) -> _Workers:
    deployment = _deployment(observed)
    desired = spec.desired_replicas
    if deployment is None:
        return _Workers(desired=desired, ready=0, updated=settled and not spec.enabled)
    state = deployment.get("status", {})
    current = state.get("observedGeneration") == deployment["metadata"].get("generation")
    updated = state.get("updatedReplicas", 0) == state.get("replicas", 0) == desired
    return _Workers(desired=desired, ready=state.get("readyReplicas", 0), updated=settled and current and updated)


def _conditions(
    observed: Observed, spec: InferenceModelSpec, workers: _Workers, problem: Problem | None
) -> list[_Draft]:
    deployment = _deployment(observed)
    cause = problem or root_cause.deployment_problem(deployment) or root_cause.pod_problem(observed.pods)
    waiting = problem is not None and not problem.permanent
    reached = workers.reached and problem is None
    stalled = not reached and cause is not None and cause.permanent
    reason, message = _summary(spec, workers, cause, reached=reached)
    valid = problem or Problem("Valid", "the spec can be rendered")
    return [
        ("Ready", reached, reason, message),
        ("Reconciling", not reached and not stalled, reason, message),
        ("Stalled", stalled, reason, message),
        ("ConfigValid", problem is None or waiting, valid.reason, valid.message),
        ("WorkersReady", workers.reached, reason, message),
        ("ModelLoaded", workers.ready > 0, *_loaded(workers)),
    ]


def _loaded(workers: _Workers) -> tuple[str, str]:
    if workers.ready:
        return "Loaded", "the engine of at least one worker answers"
    return "NotLoaded", "no worker has the model loaded"


def _summary(spec: InferenceModelSpec, workers: _Workers, cause: Problem | None, *, reached: bool) -> tuple[str, str]:
    if not reached:
        if cause:
            return cause.reason, cause.message
        return "Progressing", f"{workers.ready} of {workers.desired} workers are ready"
    if not spec.enabled:
        return "Disabled", "spec.enabled is false: nothing runs"
    if not workers.desired:
        return "ScaledToZero", "spec.replicas is 0: requests wait in the queue"
    after = f"; {cause.message}" if cause and cause.reason == "NodeLost" else ""
    return "WorkersReady", f"{workers.ready} of {workers.desired} workers are ready{after}"


def _stamp(observed: Observed, drafts: list[_Draft], now: str) -> list[Condition]:
    before = {one["type"]: one for one in (observed.model.get("status") or {}).get("conditions", [])}
    conditions = []
    for kind, holds, reason, message in drafts:
        word = "True" if holds else "False"
        old = before.get(kind)
        since = old["lastTransitionTime"] if old and old["status"] == word else now
        conditions.append(
            Condition(
                type=kind,
                status="True" if holds else "False",
                reason=reason,
                message=message[:_MESSAGE_LIMIT],
                observed_generation=_generation(observed),
                last_transition_time=since,
            )
        )
    return conditions


_MESSAGE_LIMIT = 4096


def _generation(observed: Observed) -> int:
    return int(observed.model["metadata"].get("generation", 0))


def _deployment(observed: Observed) -> Object | None:
    return next((child for child in observed.children if child["kind"] == "Deployment"), None)


def _count(observed: Observed, field: str) -> int:
    deployment = _deployment(observed) or {}
    return int(deployment.get("status", {}).get(field, 0))


def ready_reason(state: Object) -> tuple[str, str, str]:
    """Status, reason and message of the Ready condition in a status object; empty texts when there is none."""
    ready: Object = next((one for one in state.get("conditions", []) if one["type"] == "Ready"), {})
    return ready.get("status", ""), ready.get("reason", ""), ready.get("message", "")
