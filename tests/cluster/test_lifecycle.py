"""What happens to a model's objects: made, repaired, rolled once, removed; and what a wrong spec is told."""

import json
import re

import pytest

pytestmark = pytest.mark.cluster

CHILDREN = "configmaps,deployments,networkpolicies,poddisruptionbudgets,replicasets,serviceaccounts,services,pods"
OF_MODELS = "headrace.dev/model"


def config_map(kubectl):
    """The ConfigMap of the one revision."""
    (found,) = kubectl.items("configmaps", "-l", OF_MODELS)
    return found


def uid(kubectl, kind, name="sample-chat"):
    result = kubectl.run("get", kind, name, "--output=jsonpath={.metadata.uid}")
    return result.stdout if result.returncode == 0 else ""


def pods(kubectl):
    return [pod for pod in kubectl.items("pods", "-l", OF_MODELS) if not pod["metadata"].get("deletionTimestamp")]


def versions(kubectl):
    """The resource version of every object of a model, the model's own included."""
    found = [*kubectl.items(CHILDREN, "-l", OF_MODELS), *kubectl.items("inferencemodels.headrace.dev")]
    return {(one["kind"], one["metadata"]["name"]): one["metadata"]["resourceVersion"] for one in found}


def events(kubectl):
    found = kubectl.items("events", "--field-selector", "involvedObject.kind=InferenceModel")
    return [(one["type"], one["reason"], one.get("count", 1)) for one in found]


def test_columns_status_and_what_is_rendered(kubectl, model, ready):
    kubectl.apply(model)
    found = ready()
    header, row = kubectl("get", "hrm").splitlines()
    assert header.split() == ["NAME", "READY", "REASON", "WORKERS", "MODEL", "QUEUED", "AGE"]
    assert re.fullmatch(r"sample-chat +True +WorkersReady +1/1 +headrace/sample-chat +0 +\d+\w+", row.strip()), row
    status = found["status"]
    assert (status["replicas"], status["readyReplicas"]) == (1, 1)
    assert {one["type"]: one["status"] for one in status["conditions"]} == {
        "Ready": "True",
        "Reconciling": "False",
        "Stalled": "False",
        "ConfigValid": "True",
        "WorkersReady": "True",
        "ModelLoaded": "True",
        "UpToDate": "True",
    }
    files = config_map(kubectl)["data"]
    assert set(files) == {"worker_config.toml", "model.yaml", "pod_template.json"}
    assert "edition = 1" in files["worker_config.toml"]
    assert "Bearer" not in str(files)
    assert "token" not in files["worker_config.toml"]


def test_delete_leaves_nothing_behind(kubectl, model, ready, wait_for):
    kubectl.apply(model)
    ready()
    kubectl("delete", "inferencemodels.headrace.dev", "sample-chat", "--wait")
    wait_for("everything is gone", lambda: not kubectl.items(CHILDREN, "-l", OF_MODELS), 90)


def test_changes_by_hand_are_undone(kubectl, model, ready, wait_for):
    kubectl.apply(model)
    ready()
    found = config_map(kubectl)
    name, rendered = found["metadata"]["name"], found["data"]
    deployment = uid(kubectl, "deployment")
    kubectl("patch", "configmap", name, "--type=merge", "-p", '{"data": {"worker_config.toml": "mine"}}')
    wait_for("the ConfigMap is as rendered", lambda: kubectl.get("configmap", name)["data"] == rendered, 10)
    kubectl("set", "image", "deployment/sample-chat", "worker=example.com/other:1")
    image = ("deployment", "sample-chat", "--output=jsonpath={.spec.template.spec.containers[0].image}")
    wait_for("the image is as rendered", lambda: "runtime-llamacpp" in kubectl("get", *image), 10)
    kubectl("delete", "deployment", "sample-chat", "--wait=false")
    wait_for("the Deployment is back", lambda: uid(kubectl, "deployment") not in {"", deployment}, 30)
    ready()


def test_a_changed_spec_rolls_the_pods_once(kubectl, model, ready, wait_for):
    kubectl.apply(model)
    ready()
    (before,) = pods(kubectl)
    kubectl.apply({**model, "spec": {**model["spec"], "engine": {**model["spec"]["engine"], "maxTotalTokens": 256}}})
    ready()
    wait_for("the old worker stops", lambda: len(pods(kubectl)) == 1)
    sets = kubectl.items("replicasets", "-l", OF_MODELS)
    assert len(sets) == 2
    (after,) = pods(kubectl)
    assert before["metadata"]["name"] != after["metadata"]["name"]
    kubectl("scale", "inferencemodels.headrace.dev/sample-chat", "--replicas=2")
    ready()
    assert after["metadata"]["name"] in {pod["metadata"]["name"] for pod in pods(kubectl)}
    assert len(kubectl.items("replicasets", "-l", OF_MODELS)) == 2


def test_at_rest_nothing_is_written(kubectl, model, ready, quiet_seconds):
    kubectl.apply(model)
    ready()
    quiet_seconds(3)  # the last status of the rollout
    before = versions(kubectl)
    quiet_seconds(12)
    assert versions(kubectl) == before


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("engine", "type"), "Llama", "HR003: spec.engine.type: 'Llama' is not accepted; write one of VLLMEngine"),
        (("engine", "modelID"), "x", 'unknown field "spec.engine.modelID"'),
        (("engine", "modelId"), "", "HR003: spec.engine.modelId"),
        (("scaling", "numGpusPerWorker"), 2, "set numGpusPerWorker to 1 and numWorkers to 2"),
        (("engine", "pipelineParallelSize"), 3, "HR108: spec.engine.pipelineParallelSize"),
        (("replicas",), -1, "HR003: spec.replicas: -1 is not accepted; write a whole number of at least 0"),
    ],
)
def test_the_api_server_refuses_a_malformed_spec(kubectl, model, path, value, words):
    spec = {**model["spec"], "scaling": {}, "engine": dict(model["spec"]["engine"])}
    inner = spec
    for part in path[:-1]:
        inner = inner[part]
    inner[path[-1]] = value
    result = kubectl.run("create", "-f", "-", text=json.dumps({**model, "spec": spec}))
    assert result.returncode != 0
    assert words in result.stderr


def test_what_only_the_operator_can_know_is_in_the_status_and_one_event(kubectl, model, wait_for, quiet_seconds):
    spec = {**model["spec"], "engine": {**model["spec"]["engine"], "type": "TRTLLMEngine"}}
    kubectl.apply({**model, "spec": spec})

    def refused():
        found = kubectl.get("inferencemodels.headrace.dev", "sample-chat").get("status", {})
        return next((one for one in found.get("conditions", []) if one["type"] == "Ready"), None)

    ready = wait_for("a Ready condition", refused, 20)
    assert (ready["status"], ready["reason"]) == ("False", "EngineNotAvailable")
    assert "accepted: EmbeddingEngine, LlamaCppEngine, VLLMEngine" in ready["message"]
    quiet_seconds(3)
    assert events(kubectl) == [("Warning", "EngineNotAvailable", 1)]


def test_a_template_that_the_api_server_refuses(kubectl, model, wait_for):
    kubectl.apply({**model, "spec": {**model["spec"], "template": {"spec": {"restartPolicy": "Sometimes"}}}})

    def message():
        found = kubectl.get("inferencemodels.headrace.dev", "sample-chat").get("status", {})
        return next((one["message"] for one in found.get("conditions", []) if one["reason"] == "ApplyRefused"), "")

    assert "restartPolicy" in wait_for("the refusal", message, 20)


def test_a_typing_mistake_in_the_template_is_named(kubectl, model, wait_for):
    kubectl.apply({**model, "spec": {**model["spec"], "template": {"spec": {"nodeSelctor": {"a": "b"}}}}})

    def message():
        found = kubectl.get("inferencemodels.headrace.dev", "sample-chat").get("status", {})
        return next((one["message"] for one in found.get("conditions", []) if one["reason"] == "ApplyRefused"), "")

    assert "nodeSelctor" in wait_for("the refusal", message, 20)


def test_values_that_the_api_server_writes_otherwise_are_no_drift(kubectl, model, ready, quiet_seconds):
    container = {
        "name": "worker",
        "env": [{"name": "EMPTY", "value": ""}],
        "resources": {"requests": {"cpu": "0.0100", "memory": "65536Ki"}},
    }
    patch = {"spec": {"hostNetwork": False, "containers": [container]}}
    kubectl.apply({**model, "spec": {**model["spec"], "template": patch}})
    ready()
    quiet_seconds(3)
    before = versions(kubectl)
    quiet_seconds(6)
    assert versions(kubectl) == before


def test_pods_that_pod_security_refuses(kubectl, model, wait_for):
    patch = {"spec": {"hostNetwork": True}}
    kubectl.apply({**model, "spec": {**model["spec"], "template": patch}})

    def message():
        found = kubectl.get("inferencemodels.headrace.dev", "sample-chat").get("status", {})
        return next(
            (one["message"] for one in found.get("conditions", []) if one["reason"] == "PodSecurityRefused"), ""
        )

    assert "violates PodSecurity" in wait_for("the refusal", message, 30)


def test_a_crashing_worker_says_why(kubectl, model, wait_for):
    engine = {**model["spec"]["engine"], "hfModelId": "/opt/headrace/models/nothing-here"}
    kubectl.apply({**model, "spec": {**model["spec"], "engine": engine}})

    def message():
        found = kubectl.get("inferencemodels.headrace.dev", "sample-chat").get("status", {})
        return next((one["message"] for one in found.get("conditions", []) if one["reason"] == "WeightsNotFound"), "")

    assert "/opt/headrace/models/nothing-here" in wait_for("the crash", message, 60)
