"""The chart's rights on a private control plane, and operators that run there as processes with those rights."""

import base64
import contextlib
import http.client
import json
import os
import random
import signal
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml
from tests import plane as planes

from embedded import local

ROOT = Path(__file__).resolve().parents[2]
NAMESPACE = "here"
USER = f"system:serviceaccount:{NAMESPACE}:release-operator"
LEASE_SECONDS = 4
Object = dict[str, Any]

_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "Request", "resources": [{"group": "coordination.k8s.io", "resources": ["leases"]}]},
        {"level": "Metadata", "users": [USER]},
        {"level": "None"},
    ],
}
_APPLIED = {
    *("ServiceAccount", "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding", "Lease"),
    *("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"),
}


class Installation:
    """What helm would install, without the pods."""

    def __init__(self, plane: planes.Plane, audit: Path, folder: Path) -> None:
        self.plane = plane
        self.audit = audit
        self.folder = folder
        self.environment: dict[str, str] = {}

    def install(self, *values: str) -> None:
        """Apply the chart's objects that are no workload, and read what it tells the operator."""
        options = [word for value in values for word in ("--set", value)]
        command = [local.helm(), "template", "release", ROOT / "charts/headrace", "--namespace", NAMESPACE, *options]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        objects = [item for item in yaml.safe_load_all(text) if item]
        namespaces = {NAMESPACE, *(item["metadata"].get("namespace", NAMESPACE) for item in objects)}
        self.plane.apply(
            *({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in sorted(namespaces))
        )
        self.plane.apply(*(item for item in objects if item["kind"] in _APPLIED))
        (operator,) = (
            item for item in objects if item["kind"] == "Deployment" and "operator" in item["metadata"]["name"]
        )
        variables = operator["spec"]["template"]["spec"]["containers"][0]["env"]
        self.environment = {one["name"]: one.get("value", "") for one in variables}
        del self.environment["HEADRACE_OPERATOR_QUEUE_ADMIN_URL"]  # there is no queue

    def events(self) -> list[Object]:
        """The operators' requests as the API server logged them, in order, with who sent each."""
        whole, _, _ = self.audit.read_text().rpartition("\n")
        lines = [json.loads(line) for line in whole.splitlines()]
        found = [line for line in lines if line["user"].get("username") == USER and "objectRef" in line]
        for line in found:
            line["sender"] = line["user"]["extra"]["authentication.kubernetes.io/credential-id"][0]
        return sorted(found, key=lambda line: str(line["requestReceivedTimestamp"]))


class Operator:
    """One operator's process."""

    def __init__(self, installation: Installation, name: str, **settings: str) -> None:
        plane = installation.plane
        token = plane.kubectl("create", "token", "release-operator", "-n", NAMESPACE, "--duration=1h").strip()
        self.name = name
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        self.sender = f"JTI={claims['jti']}"
        self.port = planes.free_port()
        self.log = installation.folder / f"operator-{name}-{self.port}.log"
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("HEADRACE_OPERATOR_")},
            **installation.environment,
            "KUBECONFIG": str(plane.kubeconfig_for(token, f"{name}-{self.port}")),
            "HEADRACE_OPERATOR_HEALTH_PORT": str(self.port),
            "HEADRACE_OPERATOR_WEBHOOK_PORT": str(planes.free_port()),
            **{f"HEADRACE_OPERATOR_{key.upper()}": value for key, value in settings.items()},
        }
        if "HEADRACE_OPERATOR_WEBHOOK_HOST" not in environment:
            del environment["HEADRACE_OPERATOR_WEBHOOK_PORT"]
        with self.log.open("wb") as log:
            command = [sys.executable, "-m", "headrace_operator"]
            self.process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=log, stderr=log)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def get(self, path: str) -> tuple[int, str]:
        """Status and text of a page of the health port; (0, "") when nobody answers there."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, ""
        except OSError:
            return 0, ""

    def ready(self) -> bool:
        return self.get("/readyz")[0] == 200

    def leading(self) -> bool:
        return "headrace_operator_leader 1.0" in self.get("/metrics")[1]

    def end(self) -> None:
        """Kill it, if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def installation(folder: Path) -> Iterator[Installation]:
    """A control plane that logs every request of the operators."""
    policy, audit = folder / "audit-policy.yaml", folder / "audit.log"
    policy.write_text(yaml.safe_dump(_POLICY))
    options = [f"--audit-policy-file={policy}", f"--audit-log-path={audit}"]
    with planes.running(api_options=options) as plane:
        yield Installation(plane, audit, folder)


def model(name: str, namespace: str = NAMESPACE, **spec: Any) -> Object:
    return {
        "apiVersion": "headrace.dev/v1alpha1",
        "kind": "InferenceModel",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"engine": {"type": "LlamaCppEngine", "modelId": f"m/{name}"}, "replicas": 1, **spec},
    }


def until(what: str, check: Callable[[], Any], seconds: float = 60) -> float:
    """Wait until `check` is true; returns the seconds that it took."""
    began = time.monotonic()
    while not check():
        assert time.monotonic() - began < seconds, f"{what}: not within {seconds} s"
        time.sleep(0.05)
    return time.monotonic() - began


class Stirring:
    """Somebody who changes models all the time, so that whoever thinks that it leads has something to write."""

    def __init__(self, plane: planes.Plane, names: list[str]) -> None:
        self._plane = plane
        self._names = names
        self._context = ssl.create_default_context(cafile=str(plane.certificate))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.03):
            name, replicas = random.choice(self._names), random.randrange(5)  # noqa: S311  # no secret
            path = f"/apis/headrace.dev/v1alpha1/namespaces/{NAMESPACE}/inferencemodels/{name}"
            headers = {
                "Authorization": f"Bearer {self._plane.tokens['admin']}",
                "Content-Type": "application/merge-patch+json",
            }
            body = json.dumps({"spec": {"replicas": replicas}}).encode()
            connection = http.client.HTTPSConnection("127.0.0.1", self._plane.port, timeout=5, context=self._context)
            # closed also where the API server is away, or refuses
            with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
                connection.request("PATCH", path, body, headers)
                connection.getresponse().read()
