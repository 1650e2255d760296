"""`helm upgrade` from the chart as it was before it had a Lease, on a real API server: nothing of the users' is lost.

`chart-before-leases.tgz` is that chart, packed as it was in this repository; a shallow clone does not have it. No pod
runs here, so the hook's program is run as a process with the rights that the hook has.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests import plane as planes

from embedded import local
from headrace_api.crd import custom_resource_definition
from headrace_api.names import ANNOTATION_CRD_VERSION as ANNOTATION
from headrace_operator.crd_upgrade import UpgradeError, upgraded

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts/headrace"
BEFORE = Path(__file__).parent / "chart-before-leases.tgz"
CRD = "inferencemodels.headrace.dev"
MODEL = {
    "apiVersion": "headrace.dev/v1alpha1",
    "kind": "InferenceModel",
    "metadata": {"name": "m", "namespace": "here"},
    "spec": {"engine": {"type": "LlamaCppEngine", "modelId": "m"}, "replicas": 3},
}

pytestmark = pytest.mark.cluster  # helm and the control plane's programs are built for it


@pytest.fixture(scope="module")
def plane() -> Iterator[planes.Plane]:
    with planes.running(crd=False) as made:
        made.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "here"}})
        yield made


def helm(plane: planes.Plane, *arguments: Any) -> str:
    command = [local.helm(), "--kubeconfig", plane.kubeconfig, "--namespace", "here", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def hook(plane: planes.Plane) -> subprocess.CompletedProcess[str]:
    """Run what the pre-upgrade hook runs, with its rights and no others."""
    rendered = helm(plane, "template", "release", CHART, "--is-upgrade", "--show-only", "templates/crd-upgrade.yaml")
    objects = [item for item in yaml.safe_load_all(rendered) if item]
    (job,) = (item for item in objects if item["kind"] == "Job")
    plane.apply(*(item for item in objects if item is not job))
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"] == ["headrace-upgrade-crd"]
    token = plane.kubectl("create", "token", pod["serviceAccountName"], "-n", "here").strip()
    environment = {**os.environ, "KUBECONFIG": str(plane.kubeconfig_for(token, "hook"))}
    command = [sys.executable, "-m", "headrace_operator.crd_upgrade"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=ROOT)


def crd_spec(plane: planes.Plane) -> Any:
    return plane.get("crd", CRD)["spec"]


def kept(before: Any, after: Any) -> Any:
    """What is afterwards where something was before, at every depth of maps."""
    if isinstance(before, dict) and isinstance(after, dict):
        return {key: kept(value, after[key]) for key, value in before.items() if key in after}
    return after


def test_an_upgrade_keeps_models_brings_the_crd_and_leaves_nothing_foreign(plane: planes.Plane) -> None:
    helm(plane, "install", "release", BEFORE)
    plane.apply(MODEL)
    before, old = plane.get("inferencemodels", "m", "-n", "here"), crd_spec(plane)
    done = hook(plane)
    assert done.returncode == 0, done.stderr
    assert CRD in done.stdout
    helm(plane, "upgrade", "release", CHART, "--no-hooks")

    assert crd_spec(plane) != old
    wanted = custom_resource_definition()
    assert plane.get("crd", CRD)["metadata"]["annotations"][ANNOTATION] == wanted["metadata"]["annotations"][ANNOTATION]
    schemas = [crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"] for crd in (plane.get("crd", CRD), wanted)]
    assert set(properties(schemas[0])) == set(properties(schemas[1])), "nothing of the old schema stays behind"

    after = plane.get("inferencemodels", "m", "-n", "here")
    for field in ("uid", "generation", "creationTimestamp"):
        assert after["metadata"][field] == before["metadata"][field]
    assert kept(before["spec"], after["spec"]) == before["spec"], "only new defaults come"
    operator = plane.get("deployment", "release-operator", "-n", "here")
    assert operator["spec"]["strategy"]["type"] == "RollingUpdate", "Recreate was before"
    assert plane.get("lease", "release-operator", "-n", "here")


def properties(schema: Any, path: str = "") -> Iterator[str]:
    for name, inner in schema.get("properties", {}).items():
        yield f"{path}.{name}"
        yield from properties(inner, f"{path}.{name}")
    if isinstance(schema.get("items"), dict):
        yield from properties(schema["items"], f"{path}[]")


def test_the_hook_can_run_again_and_stops_before_a_later_version(plane: planes.Plane) -> None:
    before = crd_spec(plane)
    assert hook(plane).returncode == 0
    assert crd_spec(plane) == before
    plane.kubectl("annotate", "crd", CRD, f"{ANNOTATION}=99.0.0", "--overwrite")
    done = hook(plane)
    assert done.returncode == 1
    assert "99.0.0, later than" in done.stderr
    plane.kubectl("annotate", "crd", CRD, f"{ANNOTATION}-")


def test_kubectl_can_take_the_crd_over_as_documented(plane: planes.Plane) -> None:
    manifest = yaml.dump(custom_resource_definition())
    plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=manifest)
    assert hook(plane).returncode == 0


def test_a_second_upgrade_changes_nothing(plane: planes.Plane) -> None:
    kinds = "deployments,services,roles,rolebindings,leases,networkpolicies,serviceaccounts"

    def versions() -> Any:
        items = plane.get(kinds, "-n", "here")["items"]
        return {(one["kind"], one["metadata"]["name"]): one["metadata"]["resourceVersion"] for one in items}

    before = versions()
    helm(plane, "upgrade", "release", CHART, "--no-hooks")
    assert versions() == before


def test_uninstalling_keeps_models_and_crd(plane: planes.Plane) -> None:
    token = plane.get("secret", "release-worker-token", "-n", "here")["data"]
    helm(plane, "uninstall", "release")
    assert plane.get("secret", "release-worker-token", "-n", "here")["data"] == token, "for the workers that stay"
    assert plane.get("inferencemodels", "m", "-n", "here")["spec"]["replicas"] == 3
    assert not plane.get("deployments,leases,roles", "-n", "here")["items"]


def test_a_missing_crd_is_said() -> None:
    wanted = custom_resource_definition()
    with pytest.raises(UpgradeError, match="kubectl create -f -"):
        upgraded(None, wanted)


def test_a_crd_says_of_itself_which_version_it_is_of() -> None:
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    for manifest in (CHART / f"crds/{CRD}.yaml", ROOT / f"crds/{CRD}.yaml"):
        installed = yaml.safe_load(manifest.read_text())
        assert installed["metadata"]["annotations"] == {ANNOTATION: version}
        earlier = {**installed, "metadata": {"name": CRD, "annotations": {ANNOTATION: "0.0.9"}}}
        with pytest.raises(UpgradeError, match=f"of version {version}, later than 0.0.9"):
            upgraded(installed, earlier)


@pytest.mark.parametrize(("theirs", "taken"), [("0.9.0", True), ("0.10.0", True), ("0.10.1", False), ("1.0", False)])
def test_versions_are_compared_by_number(theirs: str, taken: bool) -> None:
    wanted = custom_resource_definition()
    wanted["metadata"]["annotations"] = {ANNOTATION: "0.10.0"}
    live = {"metadata": {"name": CRD, "annotations": {ANNOTATION: theirs, "a": "b"}}, "spec": {"old": True}}
    if not taken:
        with pytest.raises(UpgradeError, match="later"):
            upgraded(live, wanted)
        return
    made = upgraded(live, wanted)
    assert made["spec"] == wanted["spec"]
    assert made["metadata"]["annotations"] == {ANNOTATION: "0.10.0", "a": "b"}
