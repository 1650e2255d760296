"""The local cluster with the chart installed as the demo installs it, on two nodes, under the restricted profile."""

import contextlib
import copy
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import images
from embedded import local
from setup import install, sample, tunnel

ROOT = Path(__file__).resolve().parents[2]
NAMESPACE = install.NAMESPACE
ENGINES = "headrace-engines"
"""A second watched namespace, without the restricted profile: engines are mounted into its pods from the host."""

Object = dict[str, Any]

_MOUNTED = ("VLLMEngine", "EmbeddingEngine")


class Kubectl:
    """kubectl on the test cluster."""

    def __init__(self, namespace: str = NAMESPACE) -> None:
        self.namespace = namespace
        self._base = install.kubectl_command(namespace=namespace)

    def run(self, *arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run it and return what it did, whatever that was."""
        return subprocess.run([*self._base, *arguments], input=text, capture_output=True, text=True, check=False)

    def __call__(self, *arguments: str, text: str | None = None) -> str:
        """Run it; a failure fails the test with its message."""
        result = self.run(*arguments, text=text)
        assert result.returncode == 0, f"kubectl {' '.join(arguments)}: {result.stderr}"
        return result.stdout

    def apply(self, *objects: Object) -> str:
        """`kubectl apply` the objects."""
        return self("apply", "-f", "-", text="\n---\n".join(json.dumps(item) for item in objects))

    def get(self, *arguments: str) -> Object:
        """`kubectl get` as JSON."""
        found: Object = json.loads(self("get", *arguments, "--output=json"))
        return found

    def items(self, *arguments: str) -> list[Object]:
        """`kubectl get` of a list."""
        items: list[Object] = self.get(*arguments)["items"]
        return items


def _wait_for(what: str, check: Callable[[], Any], seconds: float = 60) -> Any:
    """Ask `check` until it is true and return that; the test fails when it takes longer."""
    deadline = time.monotonic() + seconds
    while not (value := check()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.1)
    return value


@pytest.fixture(name="wait_for")
def wait_for_fixture() -> Callable[..., Any]:
    return _wait_for


@pytest.fixture
def quiet_seconds() -> Callable[[float], None]:
    """Let time pass in which something must not happen, or in which a moment is chosen at random."""
    return time.sleep


def condition(model: Object, kind: str) -> Object:
    """The condition of a model, or an empty map."""
    conditions = model.get("status", {}).get("conditions", [])
    found: Object = next((one for one in conditions if one["type"] == kind), {})
    return found


def _values() -> dict[str, str]:
    return {
        "operator.namespaces": f"{{{NAMESPACE},{ENGINES}}}",
        # one node is going to be killed; the other one has the operator and the queue
        r"operator.nodeSelector.kubernetes\.io/hostname": "headrace-1",
        r"queue.nodeSelector.kubernetes\.io/hostname": "headrace-1",
        # the worker's own image also runs these, from environments that the tests mount
        **{f"runtime.images.{engine}.repository": "headrace/runtime-llamacpp" for engine in _MOUNTED},
        **{f"runtime.images.{engine}.tag": images.tag("runtime-llamacpp") for engine in _MOUNTED},
    }


def _say_failure(kubectl: Kubectl) -> None:
    print(kubectl.run("get", "all,events,inferencemodels.headrace.dev", "--output=wide").stdout)  # noqa: T201  # pytest shows it with the failure


@pytest.fixture(scope="session")
def installed() -> Iterator[None]:
    """A cluster of two nodes with the chart; taken down at the end unless it was up before the test run."""
    take_down = not local.exists() or bool(os.environ.get("HEADRACE_TAKE_DOWN"))
    try:
        install.cluster_and_images(nodes=2, embedded=True)
        engines = {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": ENGINES}}
        Kubectl().apply(engines)
        install.chart(_values())
        yield
    finally:
        if take_down:
            local.down()


@pytest.fixture
def kubectl(installed: None) -> Kubectl:  # noqa: ARG001
    return Kubectl()


@pytest.fixture(scope="session")
def kubectl_in(installed: None) -> Callable[[str], Kubectl]:  # noqa: ARG001
    """kubectl in the namespace that it is given."""
    return Kubectl


@pytest.fixture
def engines_kubectl(kubectl: Kubectl) -> Kubectl:  # noqa: ARG001
    """kubectl in the namespace of mounted engines."""
    return Kubectl(ENGINES)


@pytest.fixture
def model(kubectl: Kubectl) -> Iterator[Object]:
    """The sample model as a manifest; whatever is made of it is deleted after the test."""
    yield copy.deepcopy(sample.MODEL)
    kubectl("delete", "inferencemodels.headrace.dev", "--all", "--wait")
    _wait_for("workers are gone", lambda: not kubectl.items("pods", "-l", "headrace.dev/model"), 90)
    # an Event outlives what it is about
    kubectl("delete", "events", "--field-selector", "involvedObject.kind=InferenceModel")


@pytest.fixture
def ready(kubectl: Kubectl) -> Callable[..., Object]:
    """Wait until a model is Ready for its newest generation, and return it."""

    def wait(name: str = "sample-chat", seconds: float = 90, kubectl: Kubectl = kubectl) -> Object:
        def check() -> Object | None:
            found = kubectl.get("inferencemodels.headrace.dev", name)
            current = found.get("status", {}).get("observedGeneration") == found["metadata"]["generation"]
            return found if current and condition(found, "Ready").get("status") == "True" else None

        try:
            result: Object = _wait_for(f"{name} is ready", check, seconds)
        except AssertionError:
            _say_failure(kubectl)
            raise
        return result

    return wait


@pytest.fixture
def base_url(kubectl: Kubectl) -> Iterator[str]:  # noqa: ARG001
    """The queue's OpenAI base URL, through a port-forward."""
    with contextlib.closing(tunnel.open_queue()) as opened:
        yield f"{opened.url}/v1"
