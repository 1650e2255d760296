"""`kubectl headrace` as people run it: a real kubectl, a real API server, and an operator that writes the status."""

import json
import os
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from tests.operability import stand_in_kubelet
from tests.operability.conftest import model
from tests.plane import free_port
from tests.plane import running as running_plane

from embedded import programs, recipes
from headrace_queue.metrics import Metrics

pytestmark = pytest.mark.cluster  # the API server, etcd and kubectl are the cluster's programs

LABELS = {"app.kubernetes.io/managed-by": "headrace-operator", "headrace.dev/model": "a"}


@pytest.fixture(scope="module")
def headrace(plane):
    """`kubectl headrace ...`: kubectl finds the plugin on the PATH."""
    folders = (programs.fetch(recipes.KUBERNETES), Path(sys.executable).parent)
    path = os.pathsep.join([*map(str, folders), os.environ["PATH"]])

    def run(*arguments, **environment):
        return subprocess.run(
            ["kubectl", "headrace", *arguments],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PATH": path, "KUBECONFIG": str(plane.kubeconfig), **environment},
        )

    return run


@pytest.fixture(scope="module")
def running(plane, operator, tmp_path_factory, wait_for):  # noqa: ARG001  # it writes the status
    """A model with two workers on a node whose kubelet has their logs, one model that is refused."""
    logs = {
        ("a-1", False): [("2026-01-01T00:00:01.000000000Z", "one"), ("2026-01-01T00:00:03.000000000Z", "three")],
        ("a-2", False): [("2026-01-01T00:00:02.000000000Z", "two")],
        ("a-1", True): [("2026-01-01T00:00:00.000000000Z", "it was out of memory")],
    }
    plane.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "default"}})
    plane.apply(model("a"), model("b", engine={"type": "VLLMEngine", "modelId": "org/b"}))
    with stand_in_kubelet.running(logs, tmp_path_factory.mktemp("kubelet")) as node:
        plane.apply(node)
        status = json.dumps({"status": node["status"]})
        plane.kubectl("patch", "node", stand_in_kubelet.NODE, "--subresource=status", "--type=merge", "-p", status)
        for name in ("a-1", "a-2"):
            plane.apply(worker(name))
        waiting = {"name": "worker", "restartCount": 3, "ready": False, "image": "i", "imageID": ""}
        waiting["state"] = {"waiting": {"reason": "CrashLoopBackOff"}}
        patch = json.dumps({"status": {"phase": "Running", "containerStatuses": [waiting]}})
        plane.kubectl("patch", "pod", "a-1", "--subresource=status", "--type=merge", "-p", patch)
        for name in "ab":
            wait_for("a status", lambda name=name: plane.get("inferencemodels.headrace.dev", name).get("status"))
        yield


def worker(name, labels=None):
    limits = {"limits": {"nvidia.com/gpu": "2"}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": LABELS if labels is None else labels},
        "spec": {
            "nodeName": stand_in_kubelet.NODE,
            "automountServiceAccountToken": False,
            "containers": [{"name": "worker", "image": "example.org/i", "resources": limits}],
        },
    }


@pytest.mark.usefixtures("running")
def test_status_of_a_model_names_cause_workers_and_events(headrace):
    result = headrace("status", "a")
    assert result.returncode == 0, result.stderr
    assert "Model            default/a\n" in result.stdout
    assert "Clients ask for  example/a\n" in result.stdout
    rows = [line.split("\t") for line in result.stdout.splitlines() if "\t" in line]
    workers = {row[0]: row for row in rows if row[0].startswith("a-")}
    assert workers["a-1"][1:3] == ["CrashLoopBackOff", "3"]
    assert workers["a-1"][4] == stand_in_kubelet.NODE
    assert {row[0] for row in rows} >= {"Ready", "Stalled", "ConfigValid", "ModelLoaded", "a-1", "a-2"}


@pytest.mark.usefixtures("running")
def test_status_of_a_refused_model_says_what_to_do(headrace, wait_for):
    wait_for("the event", lambda: "Last events" in headrace("status", "b").stdout)
    said = headrace("status", "b").stdout
    assert "State            Stalled for" in said
    assert "EngineNotAvailable: spec.engine.type: this installation has no runtime image for VLLMEngine" in said
    assert "Warning\tEngineNotAvailable" in said


@pytest.mark.usefixtures("running")
def test_status_of_all_is_a_line_for_each(headrace):
    for arguments in (["status"], ["status", "-n", "default"], ["status", "-A"]):
        result = headrace(*arguments)
        rows = [line.split("\t") for line in result.stdout.splitlines()]
        assert [row[:2] for row in rows] == [["default", "a"], ["default", "b"]], result.stderr
        assert rows[1][2] == "Stalled"
    empty = headrace("status", "-n", "kube-public")
    assert (empty.returncode, empty.stdout) == (0, "")
    assert "--all-namespaces looks everywhere" in empty.stderr


@pytest.mark.usefixtures("running")
def test_logs_of_all_workers_come_in_the_order_of_time(headrace):
    result = headrace("logs", "a")
    assert (result.returncode, result.stdout) == (0, "a-1 one\na-2 two\na-1 three\n"), result.stderr


@pytest.mark.usefixtures("running")
def test_logs_of_previous_containers_where_there_were_any(headrace):
    result = headrace("logs", "a", "--previous")
    assert (result.returncode, result.stdout) == (0, "a-1 it was out of memory\n"), result.stderr
    assert "a-2" in result.stderr


@pytest.mark.usefixtures("running")
def test_logs_are_followed_until_the_workers_end(headrace):
    result = headrace("logs", "a", "--follow", "--since", "1h", "--tail", "5")
    assert result.returncode == 0, result.stderr
    assert sorted(result.stdout.splitlines()) == ["a-1 one", "a-1 three", "a-2 two"]


@pytest.mark.usefixtures("running")
def test_logs_of_a_model_without_workers_say_why_there_are_none(headrace):
    result = headrace("logs", "b")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("the model b has no workers: EngineNotAvailable: spec.engine.type")


@pytest.mark.usefixtures("running")
def test_what_is_missing_is_named(headrace, plane, tmp_path):
    gone = headrace("status", "c")
    assert (gone.returncode, gone.stderr.strip()) == (
        2,
        "there is no InferenceModel c in the context's namespace; there are: a, b",
    )
    assert "in the namespace other; there are: none" in headrace("logs", "c", "-n", "other").stderr
    wrong = headrace("status", "--context", "elsewhere")
    assert wrong.returncode == 2
    assert "elsewhere" in wrong.stderr
    missing = headrace("top", "--kubeconfig", str(tmp_path / "none"))
    assert missing.returncode == 2
    assert str(tmp_path / "none") in missing.stderr
    explicit = headrace("status", "a", "--kubeconfig", str(plane.kubeconfig), "--context", "plane", KUBECONFIG="")
    assert explicit.returncode == 0, explicit.stderr
    both = headrace("status", "a", "-A")
    assert (both.returncode, both.stderr.strip()) == (
        2,
        "--all-namespaces is for all models; for one give its --namespace",
    )


class Queue(BaseHTTPRequestHandler):
    """The queue's own metrics, with more tokens each time."""

    registry = CollectorRegistry()
    metrics = Metrics(registry)

    def do_GET(self):
        self.metrics.requests.count_tokens("example/a", 0, 1000)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(generate_latest(self.registry))

    def log_message(self, *_):
        """Nothing."""


def host_address():
    """An address of this machine that is not loopback: the API server sends no Service there."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.connect(("192.0.2.1", 9))  # nothing is sent
        return one.getsockname()[0]


@pytest.fixture
def queue(plane):
    port = free_port()
    server = ThreadingHTTPServer((host_address(), port), Queue)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    metadata = {"name": "x-queue-admin", "namespace": "default", "labels": {"app.kubernetes.io/name": "headrace-queue"}}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {"ports": [{"name": "admin", "port": 9090, "targetPort": port}]},
    }
    # the API server forwards to Pods only: it compares an address with that of the Pod that it is said to be
    pod = {"kind": "Pod", "namespace": "default", "name": "queue"}
    plane.apply(worker("queue", {}))
    patch = {"status": {"podIP": host_address(), "podIPs": [{"ip": host_address()}]}}
    plane.kubectl("patch", "pod", "queue", "--subresource=status", "--type=merge", "-p", json.dumps(patch))
    subset = {"addresses": [{"ip": host_address(), "targetRef": pod}], "ports": [{"name": "admin", "port": port}]}
    endpoints = {"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata, "subsets": [subset]}
    plane.apply(service, endpoints)
    yield
    plane.kubectl("delete", "service", "x-queue-admin")
    plane.kubectl("delete", "pod", "queue", "--force")
    server.shutdown()
    server.server_close()


@pytest.mark.usefixtures("running", "queue")
def test_top_counts_accelerators_and_tokens(headrace):
    result = headrace("top", "--seconds", "0.2")
    assert result.stderr == ""
    rows = {row[1]: row for row in (line.split("\t") for line in result.stdout.splitlines())}
    assert rows["a"][5] == "4"
    assert float(rows["a"][6]) > 0
    assert rows["b"][5:] == ["0", "0.0"]
    ordered = headrace("top", "-A", "--sort", "gpus", "--seconds", "0")
    assert [line.split("\t")[1] for line in ordered.stdout.splitlines()] == ["a", "b"]
    assert ordered.stdout.splitlines()[0].endswith("\t-")


@pytest.mark.usefixtures("running")
def test_top_without_a_queue_does_without_tokens_and_says_so(headrace):
    result = headrace("top")
    assert result.returncode == 0
    assert result.stdout.splitlines()[0].split("\t")[6] == "-"
    assert "without tokens per second: there is no queue (a Service with the label" in result.stderr


def test_a_cluster_without_headrace_is_told(headrace):
    with running_plane(crd=False) as bare:
        result = headrace("status", "--kubeconfig", str(bare.kubeconfig))
    assert result.returncode == 2
    assert "is Headrace installed in this cluster?" in result.stderr
