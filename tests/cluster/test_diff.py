"""`headrace diff` against the real API server and the running operator: truthful, and without a write."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from embedded import local

pytestmark = pytest.mark.cluster

HEADRACE = Path(sys.executable).parent / "headrace"


def diff(model, *options):
    """Run it on a manifest, with the cluster's own kubectl and kubeconfig."""
    folder = Path(local.kubectl()).parent
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "KUBECONFIG": str(local.kubeconfig())}
    command = [HEADRACE, "diff", "--format", "json", *options, "-"]
    result = subprocess.run(
        command, input=json.dumps(model), capture_output=True, text=True, check=False, env=environment
    )
    assert result.returncode in {0, 1}, result.stderr
    changes = {(one["kind"], one["action"]): one["changes"] for one in json.loads(result.stdout)}
    assert bool(changes) == bool(result.returncode)
    return changes


def versions(kubectl):
    """What a write of a spec would change; the status of a running model does not count."""
    found = kubectl.items("inferencemodels.headrace.dev,configmaps,deployments.apps")
    return {(one["kind"], one["metadata"]["name"]): _version(one["metadata"]) for one in found}


def _version(metadata):
    return metadata.get("generation", metadata["resourceVersion"])


def values(changes):
    return {one["key"]: one["after"] for one in changes}


def test_a_new_model_is_shown_and_not_made(kubectl, model):
    changes = diff(model)
    assert {action for _, action in changes} == {"create"}
    assert {kind for kind, _ in changes} == {
        *("InferenceModel", "ConfigMap", "ServiceAccount", "NetworkPolicy", "Service", "PodDisruptionBudget"),
        "Deployment",
    }
    image = values(changes["Deployment", "create"])["spec.template.spec.containers[worker].image"]
    assert "runtime-llamacpp" in image
    assert not kubectl.items("inferencemodels.headrace.dev")


def test_what_is_announced_is_what_happens(kubectl, model, ready, wait_for):
    kubectl.apply(model)
    ready()
    assert diff(model) == {}
    before = versions(kubectl)
    changed = copy.deepcopy(model)
    changed["spec"] |= {"monitoring": {"logLevel": "DEBUG"}, "queue": {"tags": ["announced"]}}
    announced = diff(changed)
    assert set(announced) == {("InferenceModel", "change"), ("ConfigMap", "create"), ("Deployment", "change")}
    level = "spec.template.spec.containers[worker].env[LOG_LEVEL].value"
    assert values(announced["Deployment", "change"])[level] == "DEBUG"
    file = values(announced["ConfigMap", "create"])['data."worker_config.toml"']
    assert versions(kubectl) == before
    kubectl.apply(changed)

    def written():
        found = kubectl.items("configmaps", "-l", "headrace.dev/model=sample-chat")
        return {one["data"]["worker_config.toml"] for one in found}

    wait_for("the file is as announced", lambda: file in written(), 20)
    ready()
    wait_for("nothing is left to change", lambda: diff(changed) == {}, 20)


def test_a_disabled_model_announces_the_end_of_its_workers(kubectl, model, ready):
    kubectl.apply(model)
    ready()
    disabled = copy.deepcopy(model)
    disabled["spec"]["enabled"] = False
    assert ("Deployment", "delete") in diff(disabled)
    assert kubectl.items("deployments.apps", "-l", "headrace.dev/model=sample-chat")
