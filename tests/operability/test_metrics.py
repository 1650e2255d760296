"""What the metrics say of requests, reconciles and models."""

import asyncio

import aiohttp
import pytest
from multidict import CIMultiDict
from prometheus_client import CollectorRegistry
from tests.waiting import until
from yarl import URL

from headrace_operator.metrics.api import meaning
from headrace_operator.metrics.models import ModelsCollector
from headrace_operator.metrics.work import WorkMetrics, result
from headrace_operator.work_queue import Unavailable, WorkQueue

APPLY = {"Content-Type": "application/apply-patch+yaml"}
MERGE = {"Content-Type": "application/merge-patch+json"}


@pytest.mark.parametrize(
    ("method", "path", "headers", "expected"),
    [
        ("GET", "/api/v1/namespaces/a/pods", {}, ("list", "pods")),
        ("GET", "/api/v1/pods?watch=true&resourceVersion=3", {}, ("watch", "pods")),
        ("GET", "/api/v1/namespaces/a/configmaps/x", {}, ("get", "configmaps")),
        ("PATCH", "/apis/apps/v1/namespaces/a/deployments/x?fieldManager=m", APPLY, ("apply", "deployments")),
        (
            "PATCH",
            "/apis/headrace.dev/v1alpha1/namespaces/a/inferencemodels/x/status",
            MERGE,
            ("patch", "inferencemodels/status"),
        ),
        ("POST", "/api/v1/namespaces/a/events", {}, ("create", "events")),
        ("PUT", "/apis/coordination.k8s.io/v1/namespaces/a/leases/x", {}, ("update", "leases")),
        ("DELETE", "/api/v1/namespaces/a/configmaps/x", {}, ("delete", "configmaps")),
        ("DELETE", "/api/v1/namespaces/a/configmaps", {}, ("deletecollection", "configmaps")),
        ("GET", "/api/v1/namespaces/a", {}, ("get", "namespaces")),
        ("GET", "/api/v1/namespaces", {}, ("list", "namespaces")),
        ("GET", "/apis/headrace.dev/v1alpha1", {}, ("get", "other")),
        ("GET", "/version", {}, ("get", "other")),
    ],
)
def test_a_request_is_named_as_rbac_names_it(method, path, headers, expected):
    assert meaning(method, URL(f"https://api{path}"), CIMultiDict(headers)) == expected


class ApiError(Exception):
    def __init__(self, status):
        super().__init__(status)
        self.status = status


def unavailable(cause):
    error = Unavailable("away")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (None, "ok"),
        (ApiError(409), "conflict"),
        (ApiError(429), "throttled"),
        (ApiError(403), "refused"),
        (ApiError(503), "unavailable"),
        (ApiError(0), "unavailable"),
        (unavailable(ApiError(429)), "throttled"),
        (unavailable(ApiError(503)), "unavailable"),
        (unavailable(aiohttp.ClientConnectionError()), "unavailable"),
        (asyncio.CancelledError(), "stopped"),
        (KeyError("spec"), "error"),
    ],
)
def test_a_failure_has_one_of_few_causes(error, expected):
    assert result(error) == expected


async def test_the_work_queue_tells_depth_age_and_retries(monkeypatch):
    monkeypatch.setattr("headrace_operator.work_queue._FIRST_RETRY_SECONDS", 0.01)
    registry, release, tries = CollectorRegistry(), asyncio.Event(), []

    def value(name, **labels):
        return registry.get_sample_value(f"headrace_operator_{name}", labels)

    async def work(key):
        tries.append(key)
        await release.wait()
        if len(tries) < 3:
            raise ApiError(409)

    queue = WorkQueue(work, hands=1, observer=WorkMetrics(registry, lambda _: 1))
    queue.add(("m", "a"))
    queue.add(("m", "b"))
    task = asyncio.create_task(queue.run())
    await until(lambda: value("work_queue_busy") == 1)
    assert value("work_queue_depth") == 1
    await until(lambda: value("work_queue_oldest_seconds") > 0.01)
    release.set()
    await until(lambda: value("reconciles_total", result="ok") == 2)
    assert value("reconciles_total", result="conflict") == value("work_queue_retries_total") == 2
    assert value("work_queue_adds_total") == 4
    assert value("work_queue_depth") == value("work_queue_busy") == value("work_queue_oldest_seconds") == 0
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    queue.add(("m", "a"))
    await asyncio.sleep(0)
    assert value("work_queue_depth") == 1
    queue.close()  # another replica leads: nothing grows old here
    queue.add(("m", "b"))
    assert value("work_queue_depth") == value("work_queue_oldest_seconds") == 0


def model(name, **conditions):
    stamped = [
        {"type": kind, "status": status, "reason": reason, "lastTransitionTime": "2026-01-01T00:00:00Z"}
        for kind, (status, reason) in conditions.items()
    ]
    return {"metadata": {"namespace": "m", "name": name}, "status": {"conditions": stamped}}


def test_models_are_counted_and_only_the_unwell_are_named():
    registry = CollectorRegistry()
    models = [
        model("a", Ready=("True", "WorkersReady"), Stalled=("False", "WorkersReady")),
        model("b", Ready=("False", "ImageNotAvailable"), Stalled=("True", "ImageNotAvailable")),
        model("c", Ready=("True", "WorkersReady"), UpToDate=("False", "PendingRender")),
        {"metadata": {"namespace": "m", "name": "new"}},
    ]
    registry.register(ModelsCollector(lambda: models))
    counts = {"condition": "Ready", "status": "True", "reason": "WorkersReady"}
    assert registry.get_sample_value("headrace_operator_models") == 4
    assert registry.get_sample_value("headrace_operator_model_conditions", counts) == 2
    (family,) = [one for one in registry.collect() if "unwell" in one.name]
    named = {(one.labels["model"], one.labels["condition"]): one.value for one in family.samples}
    assert named == {("b", "Ready"): 1767225600, ("b", "Stalled"): 1767225600, ("c", "UpToDate"): 1767225600}
