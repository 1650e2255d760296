"""The conditions of a model's status, in the conventions of kstatus. Pure.

Of Ready, Reconciling and Stalled, kstatus reads: Stalled is a failure that somebody has to mend, Reconciling is on its
way, Ready and neither of them is done. So a cause that may pass by itself keeps Reconciling, under its own reason.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from headrace_api import names, progress
from headrace_api.inference_model import InferenceModelSpec
from headrace_api.inference_model_status import Condition, ConditionType, StartingWorker
from headrace_operator.observed import Object, Plan, Problem

_MESSAGE_LIMIT = 4096
_STARTING_TOLD = 3


@dataclass(frozen=True)
class Workers:
    """The numbers that the conditions speak of."""

    desired: int
    ready: int
    updated: bool
    """Whether every worker runs the newest template and the Deployment's own status is current."""
    starting: tuple[StartingWorker, ...] = ()
    """Those that are connected to the queue and not ready yet."""

    @property
    def reached(self) -> bool:
        """Whether there are as many ready workers as there should be."""
        return self.updated and self.ready >= self.desired


@dataclass(frozen=True)
class Draft:
    """A condition without its times."""

    kind: ConditionType
    holds: bool
    reason: str
    message: str


def of_spec_that_cannot_be_read(problem: Problem, workers: Workers | None) -> list[Draft]:
    """Nothing is changed, so nothing is on its way: somebody has to correct the spec.

    Args:
        problem: what is wrong with it.
        workers: those of an earlier spec, which go on; None when there never were any.
    """
    serving = _serving(workers) if workers else []
    return [
        Draft("Ready", False, problem.reason, problem.text),
        Draft("Reconciling", False, problem.reason, "nothing is changed until the spec is"),
        Draft("Stalled", True, problem.reason, problem.text),
        Draft("ConfigValid", False, problem.reason, problem.text),
        *serving,
    ]


def _serving(workers: Workers) -> list[Draft]:
    reason, message = _summary(workers, None, reached=workers.reached, enabled=True)
    return [Draft("WorkersReady", workers.reached, reason, message), _loaded(workers)]


def of_workers(
    spec: InferenceModelSpec,
    workers: Workers,
    problem: Problem | None,
    cause: Problem | None,
    decision: Plan,
) -> list[Draft]:
    """All conditions of a model whose spec can be read.

    Args:
        spec: what is asked for.
        workers: what there is.
        problem: what kept the operator from writing the model's objects.
        cause: why the workers are not ready, as far as their objects say.
        decision: a rollout that was stopped (older workers may well be ready), a newer rendering that waits.
    """
    serving = _summary(workers, problem or cause, reached=workers.reached, enabled=spec.enabled)
    cause = problem or decision.failure or cause
    reached = workers.reached and problem is None and decision.failure is None
    stalled = not reached and cause is not None and cause.permanent
    reason, message = _summary(workers, cause, reached=reached, enabled=spec.enabled)
    return [
        Draft("Ready", reached, reason, message),
        Draft("Reconciling", not reached and not stalled, reason, message),
        Draft("Stalled", stalled, reason, message),
        _config_valid(problem),
        Draft("WorkersReady", workers.reached, *serving),
        _loaded(workers),
        _up_to_date(problem, decision),
    ]


def stamp(drafts: Iterable[Draft], before: Iterable[Object], generation: int, now: str) -> list[Condition]:
    """Give the drafts their times: a condition keeps its time for as long as its status stays."""
    old = {one["type"]: one for one in before}
    return [_stamped(draft, old.get(draft.kind), generation, now) for draft in drafts]


def _stamped(draft: Draft, old: Object | None, generation: int, now: str) -> Condition:
    word = "True" if draft.holds else "False"
    return Condition(
        type=draft.kind,
        status="True" if draft.holds else "False",
        reason=draft.reason,
        message=draft.message[:_MESSAGE_LIMIT],
        observed_generation=generation,
        last_transition_time=old["lastTransitionTime"] if old and old["status"] == word else now,
    )


def _config_valid(problem: Problem | None) -> Draft:
    if problem is None or not problem.permanent:
        return Draft("ConfigValid", True, "Valid", "the spec can be rendered")
    return Draft("ConfigValid", False, problem.reason, problem.text)


def _loaded(workers: Workers) -> Draft:
    if workers.ready:
        return Draft("ModelLoaded", True, "Loaded", "the engine of at least one worker answers")
    return Draft("ModelLoaded", False, "NotLoaded", f"no worker has the model loaded{_how_far(workers.starting)}")


def _how_far(starting: Sequence[StartingWorker]) -> str:
    """`: sample-1 is fetching 3.2 of 14.1 GB, and 2 more are starting`."""
    told = [
        f"{one.worker} is {progress.words(one.state, one.done_bytes, one.total_bytes, one.detail)}"
        for one in starting[:_STARTING_TOLD]
    ]
    more = f", and {len(starting) - len(told)} more are starting" if len(starting) > len(told) else ""
    return f": {'; '.join(told)}{more}" if told else ""


def _up_to_date(problem: Problem | None, decision: Plan) -> Draft:
    """Whether the workers are what the spec renders to, or are just becoming that."""
    if problem:
        return Draft("UpToDate", False, problem.reason, problem.text)
    if pending := decision.pending_render:
        changes = f" ({', '.join(pending.changes)})" if pending.changes else ""
        message = (
            f"revision {pending.revision} of the operator's own making waits{changes}: it replaces the workers in "
            "a maintenance window, with the next change of the spec, or once the model has the annotation "
            f"{names.ANNOTATION_APPROVE_RENDER}={pending.revision}"
        )
        return Draft("UpToDate", False, "PendingRender", message)
    if decision.failure:
        return Draft("UpToDate", False, decision.failure.reason, decision.failure.message)
    return Draft("UpToDate", True, "UpToDate", "the workers are, or are becoming, what the spec renders to")


def _summary(workers: Workers, cause: Problem | None, *, reached: bool, enabled: bool) -> tuple[str, str]:
    """Reason and message of Ready."""
    if not reached:
        if cause:
            return cause.reason, cause.text
        return "Progressing", f"{workers.ready} of {workers.desired} workers are ready{_how_far(workers.starting)}"
    if not enabled:
        return "Disabled", "spec.enabled is false: nothing runs"
    if not workers.desired:
        return "ScaledToZero", "no worker runs: requests wait in the queue"
    after = f"; {cause.message}" if cause and cause.reason == "NodeLost" else ""
    return "WorkersReady", f"{workers.ready} of {workers.desired} workers are ready{after}"
