"""A rollout that failed: noted on the workload, in the same write that stops it, so that no crash comes between."""

import json
import tomllib
from dataclasses import asdict, dataclass

from headrace_api import names
from headrace_api.inference_model import InferenceModelSpec
from headrace_operator import root_cause
from headrace_operator.render.objects import canonical, content_hash
from headrace_operator.render.revision import Revision, spec_hash
from headrace_operator.rollout.live import Live

REASON = "RolloutFailed"
"""In the model's conditions."""
_REASON_LIMIT = 1500
"""Characters of the cause that are kept."""


@dataclass(frozen=True)
class Failure:
    """Which revision failed, when that was asked for, and why."""

    revision: str
    attempt: str
    """What was asked for; something else is a new attempt."""
    message: str

    @property
    def note(self) -> str:
        """The text that `stored` reads."""
        return canonical(asdict(self))


def attempt(spec: InferenceModelSpec) -> str:
    """What a rollout tries: a changed number of replicas is the same attempt, a longer deadline is a new one."""
    return content_hash([spec_hash(spec), spec.rollout.strategy, spec.rollout.progress_deadline_seconds])


def current(live: Live, spec: InferenceModelSpec, rendered: Revision, ready: str | None) -> Failure | None:
    """The failure that holds: the one noted, if it is of this attempt and not overcome, or one that is seen now.

    A revision whose workers were all ready once (`ready`) does not fail its rollout any more; what befalls it later is
    told as it is.
    """
    noted = stored(live)
    if noted and noted.attempt == attempt(spec):
        return None if noted.revision == live.revision and live.complete else noted
    if live.revision and live.revision != ready and live.deadline_exceeded:
        return Failure(live.revision, attempt(spec), _message(live, spec, rendered))
    return None


def past(live: Live, spec: InferenceModelSpec, rendered: Revision) -> Failure | None:
    """The failure of what the spec renders to, where its workload goes or is gone, and the note on it too."""
    if live.deployment:
        noted = stored(live)
        return noted if noted and (noted.revision, noted.attempt) == (rendered.name, attempt(spec)) else None
    status = live.observed.model.get("status") or {}
    if (status.get("rollout") or {}).get("failedRevision") != rendered.name:
        return None
    told = (one["message"] for one in status.get("conditions") or [] if one["reason"] == REASON)
    unknown = f"revision {rendered.name} did not become ready when it was tried"
    return Failure(rendered.name, attempt(spec), next(told, unknown)[:_REASON_LIMIT])


def stored(live: Live) -> Failure | None:
    """The note on the workload; None when there is none, or nothing that can be read."""
    try:
        return Failure(**json.loads(live.annotation(names.ANNOTATION_FAILED_ROLLOUT)))
    except (ValueError, TypeError):
        return None


def _message(live: Live, spec: InferenceModelSpec, rendered: Revision) -> str:
    url = tomllib.loads(rendered.worker_file)["queue"]["url"]
    cause = root_cause.cause(live.observed, url)
    why = f"{cause.reason}: {cause.text}" if cause else "its workers started and did not become ready"
    seconds = spec.rollout.progress_deadline_seconds
    return f"revision {live.revision} had no further ready worker for {seconds} s; {why}"[:_REASON_LIMIT]
