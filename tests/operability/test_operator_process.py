"""What a running operator tells: metrics, logs, readiness; also while the API server is away."""

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.operability.conftest import model

pytestmark = [
    pytest.mark.cluster,  # the API server and etcd are the cluster's programs
    pytest.mark.usefixtures("models"),
]


def samples(operator, name, **labels):
    status, text = operator.get("/metrics")
    assert status == 200
    return {
        tuple(sorted(one.labels.items())): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
        if one.name == name and labels.items() <= one.labels.items()
    }


def total(operator, name, **labels):
    return sum(samples(operator, name, **labels).values())


@pytest.fixture(scope="module")
def models(plane, operator, wait_for):
    plane.apply(model("good"), model("refused", engine={"type": "VLLMEngine", "modelId": "a/b"}))
    wait_for("both models have a status", lambda: total(operator, "headrace_operator_model_conditions") >= 10)


def test_requests_are_counted_by_verb_resource_and_code(operator):
    requests = samples(operator, "headrace_operator_api_requests_total")
    seen = {(dict(key)["verb"], dict(key)["resource"]): dict(key)["code"] for key in requests}
    assert seen["apply", "deployments"] in {"200", "201"}
    assert seen["patch", "inferencemodels/status"] == "200"
    assert seen["list", "pods"] == "200"
    assert seen["create", "events"] == "201"
    assert not {verb for verb, _ in seen} - {"apply", "patch", "list", "create", "get", "delete"}
    assert total(operator, "headrace_operator_api_request_seconds_count", verb="apply") >= 2


def test_the_work_queue_and_reconciles_are_counted(operator):
    assert total(operator, "headrace_operator_work_queue_adds_total") >= 2
    assert total(operator, "headrace_operator_reconciles_total", result="ok") >= 2
    assert total(operator, "headrace_operator_reconcile_seconds_count") >= 2
    assert total(operator, "headrace_operator_work_queue_wait_seconds_count") >= 2


def test_models_are_counted_by_condition_and_those_unwell_are_named(operator):
    assert total(operator, "headrace_operator_models") == 2
    stalled = total(operator, "headrace_operator_model_conditions", condition="Stalled", status="True")
    assert stalled == 1
    unwell = samples(operator, "headrace_operator_model_unwell_since_timestamp_seconds", condition="Stalled")
    ((labels, since),) = unwell.items()
    assert dict(labels) == {
        "condition": "Stalled",
        "model": "refused",
        "model_namespace": "default",
        "reason": "EngineNotAvailable",
    }
    assert since > 1_700_000_000


def test_the_process_tells_of_itself(operator, wait_for):
    assert total(operator, "headrace_operator_leader") == 1
    assert total(operator, "headrace_operator_queue_connected") == 0
    assert total(operator, "headrace_operator_process_resident_memory_bytes") > 10_000_000
    assert samples(operator, "headrace_operator_build_info")
    first = total(operator, "headrace_operator_last_resync_timestamp_seconds")
    wait_for("another look", lambda: total(operator, "headrace_operator_last_resync_timestamp_seconds") > first)


def test_every_line_of_a_reconcile_names_model_and_generation(plane, operator, wait_for):
    plane.apply(model("named"))
    wait_for("it is written", lambda: plane.get("deployments", "-l", "headrace.dev/model=named")["items"])
    wait_for("it is reported", lambda: [one for one in operator.lines() if one.get("event") == "status"])
    applied = [one for one in operator.lines() if one["event"] in {"applying", "status", "deleting"}]
    assert {one["model"] for one in applied} >= {"default/good", "default/refused", "default/named"}
    assert all(one["generation"] >= 1 for one in applied)


def test_libraries_log_in_the_same_form_and_nothing_secret(plane, operator):
    lines = operator.lines()  # each of them is JSON
    assert [one for one in lines if one.get("logger", "").startswith("kopf")]
    for one in lines:
        assert {"event", "level", "timestamp"} <= one.keys()
    assert plane.tokens["admin"] not in operator.log.read_text()


def test_an_absent_api_server_is_no_reason_to_restart_and_little_is_said(plane, operator, wait_for):
    before = len(operator.lines())
    plane.stop_api()
    failed = {"code": "none"}
    wait_for(
        "requests fail",
        lambda: total(operator, "headrace_operator_api_requests_total", **failed) >= 2,
    )
    assert operator.get("/healthz") == (200, '{"status": "ok"}\n')
    assert operator.get("/readyz")[0] == 200
    plane.start_api()
    said = operator.lines()[before:]
    grave = [one for one in said if one["level"] in {"warning", "error"}]
    about = [re.sub(r"\d+", "#", f"{one['event']} {one.get('model')} {one.get('error')}") for one in grave]
    assert about
    assert len(about) == len(set(about))
    plane.apply(model("after"))
    wait_for("it carries on", lambda: plane.get("deployments", "-l", "headrace.dev/model=after")["items"])
    assert operator.process.poll() is None


def test_unknown_paths_are_told_what_there_is(operator):
    assert operator.get("/nothing") == (404, "there are /healthz, /readyz, /metrics\n")
