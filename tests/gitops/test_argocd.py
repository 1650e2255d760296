"""Argo CD's health script, run by Lua 5.1 as in Argo CD, over the conditions that the operator writes."""

from pathlib import Path

import pytest
from lupa import lua51

from headrace_api.inference_model import InferenceModelSpec
from headrace_api.inference_model_status import InferenceModelStatus
from headrace_operator import conditions
from headrace_operator.conditions import Workers
from headrace_operator.observed import Plan, Problem

SCRIPT = Path(__file__).resolve().parents[2] / "docs/gitops/argocd-health.lua"
PERMANENT = Problem("ImageNotFound", "there is no such image")
PASSING = Problem("Unschedulable", "no node has a GPU", permanent=False)


def health(status, generation=2):
    """What Argo CD shows for a model with this status."""
    lua = lua51.LuaRuntime()
    obj = {"metadata": {"name": "m", "generation": generation}, **({} if status is None else {"status": status})}
    lua.globals().obj = lua.table_from(obj, recursive=True)
    answer = lua.execute(SCRIPT.read_text())
    return answer["status"], answer["message"]


def written(drafts, observed=2):
    stamped = conditions.stamp(drafts, [], observed, "2026-01-01T00:00:00Z")
    status = InferenceModelStatus(observed_generation=observed, conditions=stamped)
    return status.model_dump(mode="json", by_alias=True, exclude_none=True)


def of_workers(ready, desired, cause=None, **spec):
    read = InferenceModelSpec.model_validate({"engine": {"type": "LlamaCppEngine", "modelId": "m"}, **spec})
    return written(conditions.of_workers(read, Workers(desired, ready, updated=True), None, cause, Plan()))


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (None, ("Progressing", "the operator has not seen")),
        (of_workers(0, 1), ("Progressing", "Progressing: 0 of 1")),
        (of_workers(1, 1), ("Healthy", "1 of 1 workers are ready")),
        (of_workers(0, 0), ("Healthy", "requests wait in the queue")),
        (of_workers(0, 0, enabled=False), ("Suspended", "spec.enabled is false")),
        (of_workers(0, 1, PERMANENT), ("Degraded", "ImageNotFound: there is no such image")),
        (of_workers(0, 1, PASSING), ("Progressing", "Unschedulable: no node has a GPU")),
        (written(conditions.of_spec_that_cannot_be_read(PERMANENT, None)), ("Degraded", "ImageNotFound")),
        ({"observedGeneration": 2}, ("Progressing", ": ")),
    ],
)
def test_health(status, expected):
    shown, message = health(status)
    assert shown == expected[0]
    assert message.startswith(expected[1]) or expected[1] in message


def test_a_status_of_an_earlier_spec_counts_for_nothing():
    assert health(of_workers(1, 1), generation=3)[0] == "Progressing"
