"""That the oracle sees what is wrong: every kind of difference it is there for."""

import copy

import pytest

from headrace_api import names
from tests.faults import oracle
from tests.faults.api import Object, ref
from tests.faults.lane import CONFIG

SPEC = {"enabled": True, "replicas": 2, "engine": {"type": "LlamaCppEngine", "modelId": "org/model"}}


@pytest.fixture
def model() -> Object:
    conditions = [
        {"type": kind, "status": status, "reason": "R", "message": "m", "observedGeneration": 3}
        for kind, status in (("Ready", "True"), ("Stalled", "False"), ("ConfigValid", "True"), ("Reconciling", "False"))
    ]
    return {
        "apiVersion": "headrace.dev/v1alpha1",
        "kind": "InferenceModel",
        "metadata": {"name": "m", "namespace": "n", "uid": "u", "generation": 3},
        "spec": SPEC,
        "status": {"observedGeneration": 3, "conditions": conditions},
    }


@pytest.fixture
def available() -> Object:
    status = {"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2}
    return {"metadata": {"generation": 1}, "spec": {"replicas": 2}, "status": status}


def _live(model: Object) -> dict[oracle.Ref, Object]:
    children = oracle.expected([oracle.Wanted(model, model["spec"])], CONFIG)
    return {ref(model): model, **copy.deepcopy(children)}


def test_what_is_as_rendered_has_no_differences(model: Object, available: Object) -> None:
    live = _live(model)
    wanted = oracle.Wanted(model, SPEC)
    expected = oracle.expected([wanted], CONFIG)
    assert {"ConfigMap", "Deployment", "Service", "ServiceAccount"} <= {key[1] for key in expected}
    assert oracle.object_differences(expected, live, {}) == []
    assert oracle.status_differences(wanted, available, CONFIG) == []
    assert [text for key in expected for text in oracle.field_differences(expected[key], live[key])] == []


def test_a_model_without_a_spec_that_can_be_rendered_has_no_objects(model: Object) -> None:
    assert oracle.expected([oracle.Wanted(model, None)], CONFIG) == {}


def test_of_a_refused_spec_the_workload_is_the_former_one(model: Object) -> None:
    template = {"spec": {"noSuchField": 1}}
    after = {**model, "spec": {**SPEC, "template": template, "monitoring": {"metricsPort": 4444}}}
    found = oracle.expected([oracle.Wanted(after, SPEC, refused=True)], CONFIG)
    deployments = [item for key, item in found.items() if key[1] == "Deployment"]
    assert ["noSuchField" in str(item) for item in deployments] == [False]
    assert sum(key[1] == "ConfigMap" for key in found) == 2
    assert ["4444" in str(item) for key, item in found.items() if key[1] in {"Service", "NetworkPolicy"}] == [False] * 2
    first = oracle.expected([oracle.Wanted(after, None, refused=True)], CONFIG)
    assert {key[1] for key in found} - {key[1] for key in first} == {"Deployment"}


def test_objects_that_are_missing_too_many_touched_or_held(model: Object) -> None:
    live = _live(model)
    expected = oracle.expected([oracle.Wanted(model, SPEC)], CONFIG)
    (deployment,) = (key for key in live if key[1] == "Deployment")
    (service,) = (key for key in live if key[1] == "Service")
    stray = {"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": "n", "name": "stray"}}
    foreign = {"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": "n", "name": "theirs"}, "data": {}}
    live[ref(stray)] = stray
    live[ref(foreign)] = {**foreign, "data": {"a": "b"}}
    live[service]["metadata"] |= {"finalizers": ["x"], "deletionTimestamp": "now"}
    del live[deployment]
    assert oracle.object_differences(expected, live, {ref(foreign): foreign}) == [
        "finalizers on Service n/m: ['x']",
        "foreign and changed: Secret n/theirs",
        "missing: Deployment n/m",
        "should not exist: Secret n/stray (of nobody, made None)",
        "still being deleted: Service n/m",
    ]


def test_a_field_that_is_not_as_applied_or_owned_by_somebody_else(model: Object) -> None:
    item = next(item for key, item in _live(model).items() if key[1] == "Service")
    changed = copy.deepcopy(item)
    changed["spec"]["ports"][0]["port"] = 1
    changed["metadata"]["resourceVersion"] = "99"
    (difference,) = oracle.field_differences(item, changed)
    assert difference.startswith("Service n/m: .spec.ports[0].port: is 1, not ")


@pytest.mark.parametrize(("operations", "wrong"), [(["Apply"], 0), ([], 1), (["Apply", "Update"], 1)])
def test_one_field_manager(model: Object, operations: list[str], wrong: int) -> None:
    fields = [{"manager": names.MANAGED_BY, "operation": operation} for operation in operations]
    others = [{"manager": "kubectl", "operation": "Update"}]
    live = {**model, "metadata": {**model["metadata"], "managedFields": fields + others}}
    assert len(oracle.manager_differences(live)) == wrong


def test_a_status_of_an_earlier_generation(model: Object, available: Object) -> None:
    model["metadata"]["generation"] = 4
    assert oracle.status_differences(oracle.Wanted(model, SPEC), available, CONFIG) == [
        "m: observedGeneration 3, not 4"
    ]


def test_a_ready_condition_that_is_not_true(model: Object, available: Object) -> None:
    available["status"]["readyReplicas"] = 1
    (difference,) = oracle.status_differences(oracle.Wanted(model, SPEC), available, CONFIG)
    assert difference.startswith("m: condition Ready is not False")


def test_an_invalid_spec_is_stalled(model: Object, available: Object) -> None:
    model["spec"] = {**SPEC, "engine": {"type": "LlamaCppEngine"}}
    found = oracle.status_differences(oracle.Wanted(model, SPEC), available, CONFIG)
    assert {text.split(":")[1] for text in found} == {
        f" condition {kind} is not {value}"
        for kind, value in (("Ready", "False"), ("Stalled", "True"), ("ConfigValid", "False"))
    }


def test_two_moments_compare_without_counters_and_lives(model: Object) -> None:
    before = _live(model)
    after = copy.deepcopy(before)
    for item in after.values():
        item["metadata"] |= {"uid": "other", "resourceVersion": "12", "generation": 9}
        item["status"] = {"replicas": 7}
    assert oracle.content_differences(oracle.content(before), oracle.content(after)) == []
    (key,) = (key for key in after if key[1] == "Deployment")
    after[key]["spec"]["replicas"] = 5
    assert oracle.content_differences(oracle.content(before), oracle.content(after)) == [
        ".Deployment n/m.spec.replicas: is 5, not 2"
    ]
