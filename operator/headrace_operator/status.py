"""The status as a pure function of what was seen and decided."""

import contextlib
from collections.abc import Sequence
from dataclasses import replace

from pydantic import ValidationError

from headrace_api.inference_model import InferenceModelSpec
from headrace_api.inference_model_status import InferenceModelStatus, StartingWorker
from headrace_api.load import ModelLoad
from headrace_operator import conditions, root_cause
from headrace_operator.conditions import Workers
from headrace_operator.foreign import scaled_by_other, told
from headrace_operator.observed import Object, Observed, Plan, Problem
from headrace_operator.plan import read_spec
from headrace_operator.render.config import RenderConfig
from headrace_operator.render.objects import selector
from headrace_operator.render.revision import worker_fingerprint, worker_hash
from headrace_operator.scaling import decided

_NOTHING = Plan()
_STARTING_SHOWN = 10
"""How many workers `starting` lists."""


def status(  # noqa: PLR0913  # what was seen, decided and done
    observed: Observed,
    problem: Problem | None,
    config: RenderConfig,
    now: str,
    *,
    settled: bool = True,
    decision: Plan = _NOTHING,
) -> InferenceModelStatus:
    """What to write into the model's status.

    Args:
        observed: the model and its objects.
        problem: what kept the operator from writing the model's objects, if anything.
        config: the installation's values.
        now: the time, RFC 3339 in UTC, for conditions whose status changes.
        settled: whether the workload was as rendered; else what was observed is older than what was asked for, and
            neither its ready workers nor its failing ones say anything of the newest spec.
        decision: what was decided on revisions.
    """
    spec = read_spec(observed.model, config)
    if isinstance(spec, Problem):
        return _refused(observed, problem or spec, now)
    workers = replace(_workers(observed, spec, decision, settled=settled), starting=_starting(observed.load))
    cause = root_cause.cause(observed, queue_url(spec, config)) if settled else None
    drafts = conditions.of_workers(spec, workers, problem, cause, decision)
    load = observed.load
    file = decision.worker_file if problem is None else None  # a revision that was refused does not run
    stored = InferenceModelStatus() if file else _stored(observed.model.get("status") or {})
    return InferenceModelStatus(
        observed_generation=_generation(observed),
        conditions=conditions.stamp(drafts, _before(observed), _generation(observed), now),
        replicas=_count(observed, "replicas"),
        ready_replicas=workers.ready,
        workers=f"{workers.ready}/{workers.desired}",
        selector=",".join(f"{key}={value}" for key, value in sorted(selector(_name(observed)).items())),
        model_name=spec.model_name,
        queued=load.queued if load else None,
        running=load.running if load else None,
        starting=_shown(workers.starting, load),
        fingerprint=worker_fingerprint(file) if file else stored.fingerprint,
        config_hash=worker_hash(file) if file else stored.config_hash,
        endpoint=endpoint(queue_url(spec, config)),
        scaling=told(decided.current(observed), observed.deployment),
        rollout=stored.rollout if problem or decision.problem else decision.rollout,
        pending_render=decision.pending_render,
    )


def queue_url(spec: InferenceModelSpec, config: RenderConfig) -> str:
    """The queue that the model's workers pull from."""
    return spec.queue.url or config.queue_url


def endpoint(queue: str) -> str | None:
    """The OpenAI base URL of a queue; None for a WebSocket address, which says nothing of where clients go."""
    return f"{queue.rstrip('/')}/v1" if queue.startswith(("http://", "https://")) else None


def ready_reason(state: Object) -> tuple[str, str, str]:
    """Status, reason and message of the Ready condition in a status object; empty texts when there is none."""
    ready = _ready(state)
    return ready.get("status", ""), ready.get("reason", ""), ready.get("message", "")


def _ready(state: Object) -> Object:
    return next((one for one in state.get("conditions", []) if one["type"] == "Ready"), {})


def _refused(observed: Observed, problem: Problem, now: str) -> InferenceModelStatus:
    """A spec that cannot be read: of what still runs is told what the workload says, and the rest as it was."""
    before = _stored(observed.model.get("status") or {})
    generation = _generation(observed)
    workers = _live_workers(observed, before)
    drafts = conditions.of_spec_that_cannot_be_read(problem, workers)
    numbers = {
        "observed_generation": generation,
        "conditions": conditions.stamp(drafts, _before(observed), generation, now),
        "starting": _shown(_starting(observed.load), observed.load),
    }
    if workers:
        numbers |= {
            "replicas": _count(observed, "replicas"),
            "ready_replicas": workers.ready,
            "workers": f"{workers.ready}/{workers.desired}",
        }
    return before.model_copy(update=numbers)


def _live_workers(observed: Observed, before: InferenceModelStatus) -> Workers | None:
    """The workers that the workload has and asks for; None when there never was one."""
    deployment = observed.deployment
    if deployment is None and before.replicas is None:
        return None
    desired = int(deployment["spec"]["replicas"]) if deployment else 0
    ready = _count(observed, "readyReplicas")
    return Workers(desired=desired, ready=ready, updated=True, starting=_starting(observed.load))


def _starting(load: ModelLoad | None) -> tuple[StartingWorker, ...]:
    """All workers that are not ready yet, by name."""
    found = sorted(load.starting.items()) if load else ()
    return tuple(
        StartingWorker(
            worker=name,
            state=one.state,
            detail=one.detail or None,
            done_bytes=one.done_bytes,
            total_bytes=one.total_bytes,
        )
        for name, one in found
    )


def _shown(starting: Sequence[StartingWorker], load: ModelLoad | None) -> list[StartingWorker] | None:
    """What the status lists: those that are not ready, then those that are and say what is amiss."""
    notes = sorted(load.notes.items()) if load else ()
    amiss = (StartingWorker(worker=name, state="ready", detail=note) for name, note in notes)
    return [*starting, *amiss][:_STARTING_SHOWN] or None


def _stored(status: Object) -> InferenceModelStatus:
    """The stored status without its conditions, as far as this version understands it."""
    known = {field.alias or name for name, field in InferenceModelStatus.model_fields.items() if name != "conditions"}
    kept = InferenceModelStatus()
    for name in (one for one in known if one in status):
        with contextlib.suppress(ValidationError):
            field = InferenceModelStatus.model_validate({name: status[name]})
            kept = kept.model_copy(update={one: getattr(field, one) for one in field.model_fields_set})
    return kept


def _workers(observed: Observed, spec: InferenceModelSpec, decision: Plan, *, settled: bool) -> Workers:
    deployment = observed.deployment
    desired = decided.replicas(observed, spec)
    if deployment is None:
        return Workers(desired=desired, ready=0, updated=settled and not spec.enabled)
    if scaled_by_other(deployment, decided.current(observed)):
        desired = deployment["spec"]["replicas"]
    state = deployment.get("status") or {}
    current = state.get("observedGeneration") == deployment["metadata"].get("generation")
    current = current or _was_ready(observed, decision)
    updated = state.get("updatedReplicas", 0) == state.get("replicas", 0) == desired
    return Workers(desired=desired, ready=state.get("readyReplicas", 0), updated=settled and current and updated)


def _was_ready(observed: Observed, decision: Plan) -> bool:
    """Whether what is decided on was said to be ready, of this very spec.

    Somebody's annotation raises the Deployment's generation, too. Where its content is as rendered, its numbers hold
    until its controller has looked at it again.
    """
    ready = _ready(observed.model.get("status") or {})
    same = ready.get("observedGeneration") == _generation(observed)
    rollout = decision.rollout
    return ready.get("status") == "True" and same and (rollout is None or rollout.revision == rollout.ready_revision)


def _before(observed: Observed) -> list[Object]:
    found: list[Object] = (observed.model.get("status") or {}).get("conditions", [])
    return found


def _name(observed: Observed) -> str:
    return str(observed.model["metadata"]["name"])


def _generation(observed: Observed) -> int:
    return int(observed.model["metadata"].get("generation", 0))


def _count(observed: Observed, field: str) -> int:
    deployment = observed.deployment or {}
    return int((deployment.get("status") or {}).get(field, 0))
