"""What `headrace status MODEL` shows, as titled tables. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from headrace_api import names, progress
from headrace_cli.live import condition
from headrace_cli.words import age, cause_and_hint, pod_state, readiness, restarts

Object = dict[str, Any]


@dataclass(frozen=True)
class Section:
    """Rows under a title."""

    title: str
    """Empty for the first section."""
    columns: tuple[str, ...]
    """Empty: each row is a name and a value."""
    rows: Sequence[tuple[str, ...]]


def sections(model: Object, workers: Sequence[Object], events: Sequence[Object], now: datetime) -> list[Section]:
    """Everything that is known of the model; what does not apply to it is left out.

    Args:
        model: the live InferenceModel.
        workers: its pods.
        events: its own events, the newest last.
        now: the time that ages are counted from.
    """
    found = [
        _summary(model, now),
        Section("Conditions", ("TYPE", "STATUS", "SINCE", "REASON", "MESSAGE"), _conditions(model, now)),
        Section(
            "Workers", ("POD", "STATE", "RESTARTS", "AGE", "NODE", "REVISION"), [_worker(pod, now) for pod in workers]
        ),
        Section("Starting", ("WORKER", "STATE", "HAS", "DETAIL"), _starting(model)),
        Section("Last events", ("AGE", "TYPE", "REASON", "MESSAGE"), [_event(one, now) for one in events]),
    ]
    return [section for section in found if section.rows]


def _summary(model: Object, now: datetime) -> Section:
    status, ready = model.get("status") or {}, condition(model, "Ready")
    cause, hint = cause_and_hint(ready.get("message", ""))
    since = f" for {age(ready['lastTransitionTime'], now)}" if ready else ""
    rows = [
        ("Model", f"{model['metadata']['namespace']}/{model['metadata']['name']}"),
        ("Clients ask for", status.get("modelName")),
        ("At", status.get("endpoint")),
        ("State", readiness(model) + since),
        ("Why", f"{ready.get('reason')}: {cause}" if ready else None),
        ("To mend it", hint),
        ("Workers", status.get("workers")),
        ("Requests", _requests(status)),
        ("Scaling", _scaling(status.get("scaling"), now)),
        ("Rollout", _rollout(status.get("rollout"))),
        ("Pending", _pending(status.get("pendingRender"), model["metadata"])),
    ]
    return Section("", (), [(key, str(value)) for key, value in rows if value])


def _requests(status: Object) -> str | None:
    if status.get("queued") is None:
        return None
    return f"{status['queued']} waiting, {status.get('running') or 0} running"


def _scaling(scaling: Object | None, now: datetime) -> str | None:
    if not scaling:
        return None
    who, why = scaling["decidedBy"], scaling["reason"]
    return f"{scaling['desiredReplicas']} workers, decided by {who} {age(scaling['time'], now)} ago: {why}"


def _rollout(rollout: Object | None) -> str | None:
    if not rollout:
        return None
    parts = [f"revision {rollout['revision']}"]
    if (ready := rollout.get("readyRevision")) and ready != rollout["revision"]:
        parts.append(f"replaces {ready}")
    if failed := rollout.get("failedRevision"):
        parts.append(f"{failed} was stopped")
    return ", ".join(parts)


def _pending(pending: Object | None, metadata: Object) -> str | None:
    if not pending:
        return None
    changes = ", ".join(pending.get("changes") or []) or "its content"
    model = f"-n {metadata['namespace']} inferencemodels.headrace.dev {metadata['name']}"
    return (
        f"revision {pending['revision']} would change {changes}; "
        f"kubectl annotate {model} --overwrite {names.ANNOTATION_APPROVE_RENDER}={pending['revision']}"
    )


def _conditions(model: Object, now: datetime) -> list[tuple[str, ...]]:
    return [
        (one["type"], one["status"], age(one.get("lastTransitionTime"), now), one["reason"], one["message"])
        for one in (model.get("status") or {}).get("conditions") or []
    ]


def _worker(pod: Object, now: datetime) -> tuple[str, ...]:
    metadata = pod["metadata"]
    return (
        metadata["name"],
        pod_state(pod),
        str(restarts(pod)),
        age(metadata["creationTimestamp"], now),
        (pod.get("spec") or {}).get("nodeName") or "-",
        (metadata.get("annotations") or {}).get(names.ANNOTATION_REVISION, "-"),
    )


def _starting(model: Object) -> list[tuple[str, ...]]:
    return [
        (
            one["worker"],
            one["state"],
            progress.amount(one.get("doneBytes"), one.get("totalBytes")) or "-",
            one.get("detail") or "-",
        )
        for one in (model.get("status") or {}).get("starting") or []
    ]


def _event(event: Object, now: datetime) -> tuple[str, ...]:
    when = event.get("lastTimestamp") or event.get("eventTime")
    return age(when, now), event.get("type", ""), event.get("reason", ""), event.get("message", "")
