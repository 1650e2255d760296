"""Which revision a model's workers shall be of: the one place where a rollout begins, waits, stops or goes back.

The rules, in this order (docs/decisions/0010-revisions.md):
1. Nothing runs, or nothing that was ever ready: what the spec renders to.
2. A rollout failed and nothing else was asked for since: it is stopped, or rolled back.
3. The spec asks for other workers than those that run: what it renders to.
4. Only the operator's own part changed: what runs is kept, until that is approved or a maintenance window is open.
"""

from dataclasses import dataclass
from datetime import datetime

from headrace_api import names
from headrace_api.inference_model import InferenceModelSpec
from headrace_api.inference_model_status import PendingRender, RolloutStatus
from headrace_api.portable import without_nulls
from headrace_operator.observed import Observed
from headrace_operator.render.deployment import Workload
from headrace_operator.render.revision import Adopted, Revision
from headrace_operator.rollout import failure as failures
from headrace_operator.rollout import windows
from headrace_operator.rollout.differences import changes
from headrace_operator.rollout.failure import Failure
from headrace_operator.rollout.live import Live


@dataclass(frozen=True)
class Decision:
    """What shall run, and what is told of it."""

    workload: Workload
    ready_revision: str | None = None
    """The newest revision whose workers were all ready."""
    failure: Failure | None = None
    pending: Revision | None = None
    """What waits for approval."""
    running: Revision | Adopted | None = None
    again_at: datetime | None = None
    """When the same question may have another answer though nothing else has changed."""

    @property
    def status(self) -> RolloutStatus | None:
        """The part of the model's status; None while workers run that are of no revision."""
        if not self.workload.revision.name:
            return None
        return RolloutStatus(
            revision=self.workload.revision.name,
            ready_revision=self.ready_revision,
            failed_revision=self.failure.revision if self.failure else None,
        )

    @property
    def pending_render(self) -> PendingRender | None:
        """The part of the model's status."""
        if self.pending is None or self.running is None:
            return None
        return PendingRender(revision=self.pending.name, changes=changes(self.running, self.pending))


def decide(observed: Observed, spec: InferenceModelSpec, rendered: Revision, now: datetime) -> Decision:
    """Decide on the revision.

    Args:
        observed: the model and its objects.
        spec: the model's spec.
        rendered: what the spec renders to now.
        now: the time, with a time zone.
    """
    live = Live(observed)
    ready = _ready_revision(live)
    running = _running(live, rendered)
    if not live.deployment or not spec.enabled:
        return _begin(live, spec, rendered, ready)
    if running is None:
        return Decision(Workload(rendered), ready)
    failure = failures.current(live, spec, rendered, ready)
    if failure is None and _same_spec(running, rendered):
        return _keep(Decision(Workload(running), ready, running=running), live, spec, rendered, now)
    if failure is None:
        return Decision(Workload(rendered), ready, running=running)
    stopped = Decision(_after(failure, live, spec, running, ready), ready, failure, running=running)
    return stopped if rendered.name == failure.revision else _keep(stopped, live, spec, rendered, now)


def _begin(live: Live, spec: InferenceModelSpec, rendered: Revision, ready: str | None) -> Decision:
    """Where there is no workload to be careful with: what the spec renders to, unless that is known to have failed."""
    older = live.stored(ready) if ready and ready != rendered.name else None
    failure = failures.past(live, spec, rendered)
    if older is None or failure is None:
        return Decision(Workload(rendered), ready)
    return Decision(Workload(older, failed=failure.note), ready, failure, running=older)


def _keep(kept: Decision, live: Live, spec: InferenceModelSpec, rendered: Revision, now: datetime) -> Decision:
    """What is decided on already, unless the newer rendering of the same spec may take its place."""
    same = kept.workload.revision.name == rendered.name
    if same or _may_replace(kept, live, spec, rendered, now):
        return Decision(Workload(rendered), kept.ready_revision, running=kept.running)
    again = windows.next_opening(spec.rollout.maintenance_windows, now)
    return Decision(kept.workload, kept.ready_revision, kept.failure, rendered, kept.running, again)


def _may_replace(kept: Decision, live: Live, spec: InferenceModelSpec, rendered: Revision, now: datetime) -> bool:
    annotations = live.observed.model["metadata"].get("annotations") or {}
    return (
        annotations.get(names.ANNOTATION_APPROVE_RENDER) == rendered.name
        or (not live.ready_pods() and _nothing_to_protect(kept, live))
        or windows.is_open(spec.rollout.maintenance_windows, now)
    )


def _nothing_to_protect(kept: Decision, live: Live) -> bool:
    """Whether workers that are not ready are none that were so once, or none that are asked for.

    What was rolled back to is kept for the time when workers are asked for again: the newer rendering is one of the
    spec that failed. Of workers from before revisions nobody knows whether they were ready.
    """
    rolled_back = kept.failure is not None and kept.workload.revision.name == kept.ready_revision
    never_ready = bool(live.revision) and live.revision != kept.ready_revision
    return never_ready or not (rolled_back or _workers_wanted(live))


def _workers_wanted(live: Live) -> bool:
    return bool(live.deployment.get("spec", {}).get("replicas") or live.observed.pods)


def _same_spec(running: Revision | Adopted, rendered: Revision) -> bool:
    return running.name == rendered.name or running.spec_hash == rendered.spec_hash


def _running(live: Live, rendered: Revision) -> Revision | Adopted | None:
    """What the Deployment runs; None when there is none, or nobody knows any more what it was made from."""
    if not live.deployment:
        return None
    if live.revision:
        return rendered if live.revision == rendered.name else live.stored(live.revision)
    return _adopted(live, rendered)


def _adopted(live: Live, rendered: Revision) -> Adopted | None:
    """Workers of a release without revisions; None when the spec has changed since that release looked at it."""
    noted = live.annotation(names.ANNOTATION_SPEC_HASH)
    model = live.observed.model
    seen = (model.get("status") or {}).get("observedGeneration") == model["metadata"].get("generation")
    if not noted and not seen:
        return None
    return Adopted(without_nulls(live.deployment["spec"]["template"]), noted or rendered.spec_hash)


def _ready_revision(live: Live) -> str | None:
    if live.complete and live.revision:
        return live.revision
    stored = (live.observed.model.get("status") or {}).get("rollout") or {}
    return stored.get("readyRevision")


def _after(
    failure: Failure, live: Live, spec: InferenceModelSpec, running: Revision | Adopted, ready: str | None
) -> Workload:
    """What runs when a rollout has failed. The way is never from the older revision to the failed one.

    Stop: older workers that are left go on serving alone; where some of the failed revision's are ready, too, all stay
    as they are, also while the queue is away and none of them is ready; where nothing else serves, the failed revision
    may still come to life. RollBack: the newest revision that was ready comes back in any case.
    """
    older = live.stored(ready) if ready and ready != failure.revision else None
    if live.revision != failure.revision or older is None:
        return Workload(running, failed=failure.note)
    if spec.rollout.on_failure == "RollBack":
        return Workload(older, failed=failure.note)
    if live.paused and failures.stored(live) == failure and live.pods(other_than=failure.revision):
        return Workload(running, paused=True, failed=failure.note)
    if not live.ready_pods(other_than=failure.revision):
        return Workload(running, failed=failure.note)
    if live.ready_pods(of=failure.revision):
        return Workload(running, paused=True, failed=failure.note)
    return Workload(older, failed=failure.note)
