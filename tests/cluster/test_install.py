"""Installing the chart as `kind/demo` does."""

import json
import signal
import subprocess

import pytest

from embedded import local
from setup import install

pytestmark = pytest.mark.cluster


def test_an_upgrade_that_was_killed_is_no_obstacle(kubectl, wait_for):
    """A killed helm leaves a release in the status pending-upgrade, and helm refuses each further upgrade of it."""
    helm = [local.helm(), "--kubeconfig", local.kubeconfig(), "--namespace", install.NAMESPACE]

    def status():
        found = subprocess.run([*helm, "status", install.RELEASE, "--output=json"], capture_output=True, check=True)
        return json.loads(found.stdout)["info"]["status"]

    values = ("--reset-then-reuse-values", "--set", "operator.image.tag=not-there")
    with subprocess.Popen([*helm, "upgrade", install.RELEASE, install.CHART, "--wait", *values]) as upgrade:
        wait_for("an upgrade that waits for its pods", lambda: status() == "pending-upgrade", 30)
        upgrade.send_signal(signal.SIGKILL)
    assert status() == "pending-upgrade"
    install.chart({})
    assert status() == "deployed"
    (operator,) = kubectl.items("deployments", "--selector=app.kubernetes.io/name=headrace-operator")
    assert operator["status"]["readyReplicas"] == 1
    assert "not-there" not in operator["spec"]["template"]["spec"]["containers"][0]["image"]
