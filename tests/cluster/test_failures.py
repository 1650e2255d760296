"""A killed operator, a lost node, and the profile that all of it runs under."""

import contextlib
import os
import random
import signal
import subprocess

import pytest

from embedded import local

pytestmark = pytest.mark.cluster

OF_MODELS = "headrace.dev/model"


def model_pods(kubectl):
    return kubectl.items("pods", "-l", OF_MODELS)


def identities(kubectl):
    """Every object of the model by uid, with the restarts of its pods."""
    found = kubectl.items("configmaps,deployments,replicasets,pods", "-l", OF_MODELS)
    return {
        (one["kind"], one["metadata"]["name"], one["metadata"]["uid"]): sum(
            status["restartCount"] for status in one.get("status", {}).get("containerStatuses", [])
        )
        for one in found
    }


def kill_operator():
    """SIGKILL to the operator's process; the kubelet starts it again."""
    found = subprocess.run(["pgrep", "-f", "bin/headrace-operator"], capture_output=True, text=True, check=False)
    for pid in found.stdout.split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    return len(found.stdout.split())


def operator_pod(kubectl):
    (pod,) = kubectl.items("pods", "-l", "app.kubernetes.io/name=headrace-operator")
    return pod


def operator_runs(kubectl):
    status = operator_pod(kubectl)["status"].get("containerStatuses", [{}])[0]
    return status.get("ready", False)


def test_kill_minus_nine_at_any_moment_converges(kubectl, model, ready, wait_for, quiet_seconds):
    moments = random.Random()  # noqa: S311  # moments, not secrets
    for name in ("sample-chat", "sample-two"):
        kubectl.apply({**model, "metadata": {**model["metadata"], "name": name}})
        quiet_seconds(moments.uniform(0, 0.4))
        assert kill_operator() >= 1
        wait_for("the operator is back", lambda: operator_runs(kubectl), 120)
        ready(name)
    settled = identities(kubectl)
    assert (
        sorted(kind for kind, _, _ in settled)
        == ["ConfigMap"] * 2 + ["Deployment"] * 2 + ["Pod"] * 2 + ["ReplicaSet"] * 2
    )
    assert set(settled.values()) == {0}
    assert kill_operator() >= 1
    wait_for("the operator is back", lambda: operator_runs(kubectl), 120)
    quiet_seconds(5)
    assert identities(kubectl) == settled


def test_everything_runs_under_the_restricted_profile(kubectl, model, ready):
    kubectl.apply(model)
    ready()
    labels = kubectl.get("namespace", "headrace")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    for pod in kubectl.items("pods"):
        for container in pod["spec"]["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True


def test_workers_of_a_lost_node_are_replaced_and_the_status_says_so(kubectl, model, ready, wait_for):
    spread = {
        "labelSelector": {"matchLabels": {OF_MODELS: "sample-chat"}},
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
    }
    patch = {"spec": {"topologySpreadConstraints": [spread]}}
    kubectl.apply({**model, "spec": {**model["spec"], "replicas": 2, "template": patch}})
    ready()
    placed = {pod["spec"]["nodeName"]: pod["metadata"]["name"] for pod in model_pods(kubectl)}
    assert set(placed) == {"headrace-1", "headrace-2"}
    victim = "headrace-2"  # the operator and the queue are on the other one: this is about workers
    local.stop_node(victim)
    try:

        def lost():
            found = kubectl.get("inferencemodels.headrace.dev", "sample-chat")["status"]["conditions"]
            return next((one for one in found if one["type"] == "Ready" and one["reason"] == "NodeLost"), None)

        said = wait_for("the status says NodeLost", lost, 90)
        assert victim in said["message"]
        assert placed[victim] in said["message"]
        found = ready(seconds=150)
        assert found["status"]["workers"] == "2/2"
        running = [pod for pod in model_pods(kubectl) if not pod["metadata"].get("deletionTimestamp")]
        assert {pod["spec"]["nodeName"] for pod in running} == {"headrace-1", "headrace-2"} - {victim}
        reasons = {
            one["reason"] for one in kubectl.items("events") if one["involvedObject"]["kind"] == "InferenceModel"
        }
        assert "NodeLost" in reasons
    finally:
        local.start_node(victim)
    wait_for("the old worker is gone", lambda: placed[victim] not in str(model_pods(kubectl)), 120)
    ready()
