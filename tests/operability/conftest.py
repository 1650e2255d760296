"""A real operator process against a real API server, as the chart would start it but for the pod."""

import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests import plane as planes

Object = dict[str, Any]


@dataclass
class Operator:
    """`python -m headrace_operator` and what it says."""

    process: "subprocess.Popen[bytes]"
    port: int
    log: Path

    def get(self, path: str) -> tuple[int, str]:
        """Status and body; 0 while nothing answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def lines(self) -> list[Object]:
        """Every line of the log; one that is not JSON fails the test."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]


def wait_for(what: str, check: Callable[[], Any], seconds: float = 60) -> Any:
    """Ask until it is true."""
    deadline = time.monotonic() + seconds
    while not (value := check()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.1)
    return value


@pytest.fixture(scope="session", name="wait_for")
def wait_for_fixture() -> Callable[..., Any]:
    return wait_for


@pytest.fixture(scope="module")
def plane() -> Iterator[planes.Plane]:
    with planes.running() as started:
        yield started


@pytest.fixture(scope="module")
def operator(plane: planes.Plane) -> Iterator[Operator]:
    port = planes.free_port()
    options = {
        "namespaces": "default",
        "queue-url": "http://queue.example:8080",
        "queue-admin-url": f"http://127.0.0.1:{planes.free_port()}",
        "images": json.dumps({"LlamaCppEngine": "example.org/runtime:1"}),
        "health-port": str(port),
        "resync-seconds": "5",
        "log-level": "INFO",
    }
    plane.start_operator(options)
    started = Operator(plane.children["operator"], port, plane.folder / "operator.log")
    try:
        wait_for("the operator is ready", lambda: started.get("/readyz")[0] == 200)
        yield started
    finally:
        assert plane.stop("operator", seconds=20) == 0, started.log.read_text()[-3000:]


def model(name: str, **spec: Any) -> Object:
    """A model of the llama.cpp engine."""
    return {
        "apiVersion": "headrace.dev/v1alpha1",
        "kind": "InferenceModel",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"engine": {"type": "LlamaCppEngine", "modelId": f"example/{name}"}, **spec},
    }
