"""Flux's own library applies models and waits for them, beside the real operator on a real API server.

No pod runs there: what is ready is so without a worker, what needs one stays on its way.
"""

import os
import subprocess
from collections.abc import Iterator

import pytest
import yaml
from tests.election.installation import NAMESPACE, Installation, Operator, installation, model, until

from embedded import programs, recipes

pytestmark = pytest.mark.cluster  # the control plane's programs, and Flux's, are built for it

READY = model("zero", replicas=0)
WAITING = model("one", replicas=1)
TENSORRT = {"type": "TRTLLMEngine", "modelId": "m/broken", "modelLocalPath": "/models/engine"}
STALLED = model("broken", engine=TENSORRT)  # the chart has no image for this engine


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installation(tmp_path_factory.mktemp("gitops")) as made:
        made.install("operator.webhook.enabled=false")
        made.plane.start_controllers()
        operator = Operator(made, "a")
        try:
            until("the operator leads", operator.leading)
            yield made
        finally:
            operator.end()


def flux(running: Installation, item: object, seconds: int) -> subprocess.CompletedProcess[str]:
    """Apply and wait as a Kustomization with `wait: true` does."""
    path = running.folder / "flux.yaml"
    path.write_text(yaml.safe_dump(item))
    command = [programs.fetch(recipes.FLUX) / "flux-apply", path, str(seconds)]
    environment = {**os.environ, "KUBECONFIG": str(running.plane.kubeconfig)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_ready_is_current(running: Installation) -> None:
    done = flux(running, READY, 60)
    assert done.returncode == 0, done.stderr
    action, status = done.stdout.splitlines()
    assert action == f"created InferenceModel/{NAMESPACE}/zero"
    assert status.startswith("Current ")


def test_applying_the_same_again_changes_nothing(running: Installation) -> None:
    flux(running, READY, 60)
    before = running.plane.get("inferencemodels", "zero", "-n", NAMESPACE)["metadata"]
    done = flux(running, READY, 60)
    assert done.stdout.splitlines()[0] == f"unchanged InferenceModel/{NAMESPACE}/zero"
    after = running.plane.get("inferencemodels", "zero", "-n", NAMESPACE, "--show-managed-fields")["metadata"]
    assert after["resourceVersion"] == before["resourceVersion"]
    managers = {one["manager"]: one for one in after["managedFields"]}
    assert set(managers) == {"kustomize-controller", "headrace-operator"}
    assert set(managers["headrace-operator"]["fieldsV1"]) == {"f:status"}, "nothing but status is the operator's"
    assert managers["headrace-operator"]["subresource"] == "status"


@pytest.mark.parametrize("way", ["--server-side", "--server-side=false"])
def test_kubectl_shows_no_difference_after_the_operator_has_been_there(running: Installation, way: str) -> None:
    item = model(f"plain{len(way)}", replicas=0)
    path = running.folder / "plain.yaml"
    path.write_text(yaml.safe_dump(item))
    name = item["metadata"]["name"]
    running.plane.kubectl("apply", way, "-f", str(path))
    until(
        "the operator has been there",
        lambda: running.plane.get("inferencemodels", name, "-n", NAMESPACE).get("status", {}).get("conditions"),
    )
    assert running.plane.kubectl("diff", way, "-f", str(path)) == ""


def test_stalled_is_failed_and_fails_at_once(running: Installation) -> None:
    done = flux(running, STALLED, 300)
    assert done.returncode == 1
    assert "Failed" in done.stdout.splitlines()[1]
    assert "runtime.images.TRTLLMEngine" in done.stdout, "with the operator's hint"


def test_on_its_way_is_in_progress_until_the_time_is_over(running: Installation) -> None:
    done = flux(running, WAITING, 5)
    assert done.returncode == 1
    assert done.stdout.splitlines()[1].startswith("InProgress ")
    assert "timeout" in done.stderr
