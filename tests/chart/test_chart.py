"""The chart without a cluster: helm's own lint, what its values may be, and what it renders."""

import subprocess
from pathlib import Path

import pytest
import yaml

from embedded import local

pytestmark = pytest.mark.cluster  # helm is one of the cluster's programs

CHART = Path(__file__).resolve().parents[2] / "charts" / "headrace"


@pytest.fixture(scope="module")
def helm():
    program = local.helm()

    def run(*arguments):
        return subprocess.run([program, *arguments], capture_output=True, text=True, check=False)

    return run


@pytest.fixture(scope="module")
def rendered(helm):
    def render(*values):
        options = [word for value in values for word in ("--set", value)]
        result = helm("template", "release", str(CHART), "--namespace", "here", "--include-crds", *options)
        assert result.returncode == 0, result.stderr
        return [item for item in yaml.safe_load_all(result.stdout) if item]

    return render


def kinds(objects, kind):
    return [item for item in objects if item["kind"] == kind]


def test_lint_is_clean(helm):
    result = helm("lint", "--strict", str(CHART))
    assert result.returncode == 0, result.stdout
    assert "[WARNING]" not in result.stdout


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("image.pullPolicy=Sometimes", "pullPolicy"),
        ("operator.clusterwide=true", "clusterwide"),
        ("runtime.images.Llama.repository=x", "Llama"),
        ("queue.service.port=0", "port"),
        ("sampleModel.name=Sample", "name"),
    ],
)
def test_wrong_values_are_refused_by_name(helm, value, words):
    result = helm("template", "release", str(CHART), "--set", value)
    assert result.returncode != 0
    assert "values don't meet the specifications of the schema" in result.stderr
    assert words in result.stderr


def test_the_sample_model_is_off_by_default(rendered):
    assert not kinds(rendered(), "InferenceModel")
    (model,) = kinds(rendered("sampleModel.enabled=true"), "InferenceModel")
    assert model["spec"]["engine"]["type"] == "LlamaCppEngine"


def test_rights_are_namespaced_and_without_wildcards(rendered):
    objects = rendered()
    assert not kinds(objects, "ClusterRole")
    (role,) = kinds(objects, "Role")
    assert role["metadata"]["namespace"] == "here"
    for rule in role["rules"]:
        words = [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
        assert "*" not in words
        assert "secrets" not in rule["resources"]
        assert "pods/exec" not in rule["resources"]
    assert {one["metadata"]["namespace"] for one in kinds(rendered("operator.namespaces={a,b}"), "Role")} == {"a", "b"}
    assert kinds(rendered("operator.clusterWide=true"), "ClusterRole")
    assert not kinds(rendered("operator.clusterWide=true"), "Role")


def test_every_pod_meets_the_restricted_profile(rendered):
    deployments = kinds(rendered(), "Deployment")
    assert len(deployments) == 2
    for deployment in deployments:
        pod = deployment["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_the_admin_port_stays_inside_the_cluster(rendered):
    services = {
        one["metadata"]["name"]: one["spec"] for one in kinds(rendered("queue.service.type=LoadBalancer"), "Service")
    }
    assert services["release-queue-admin"]["type"] == "ClusterIP"
    assert services["release-queue"]["type"] == "LoadBalancer"
    assert [port["name"] for port in services["release-queue"]["ports"]] == ["http"]


def test_a_given_token_secret_is_used_and_none_is_made(rendered):
    assert len(kinds(rendered(), "Secret")) == 1
    everywhere = kinds(rendered("operator.namespaces={a,b}"), "Secret")
    assert {secret["metadata"]["namespace"] for secret in everywhere} == {"a", "b", "here"}
    assert len({secret["data"]["token"] for secret in everywhere}) == 1
    objects = rendered("queue.workerToken.existingSecret=mine")
    assert not kinds(objects, "Secret")
    assert str(objects).count("'mine'") == 2
