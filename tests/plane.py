"""A private control plane for tests: etcd and the real API server, and what else a test asks for, on free ports.

It needs no root and no node: no kubelet runs, so pods only run when kwok plays the nodes. Everything lives in a
temporary folder and ends with the `with` block. For real workers there is the cluster of `kind/up`.
"""

import base64
import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from embedded import fakenodes, programs, recipes
from headrace_api.crd import custom_resource_definition
from toolbox import debian

Object = dict[str, Any]

_READY_SECONDS = 60.0
_ADMIN = "admin"


@dataclass
class Plane:
    """A running control plane."""

    folder: Path
    port: int
    etcd_port: int
    tokens: dict[str, str]
    api_options: tuple[str, ...] = ()
    children: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """The API server's address."""
        return f"https://127.0.0.1:{self.port}"

    @property
    def certificate(self) -> Path:
        """The authority that signed the API server's certificate."""
        return self.folder / "apiserver" / "apiserver.crt"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.kubeconfig_for(self.tokens[_ADMIN], _ADMIN)

    def kubeconfig_for(self, token: str, name: str, server: str | None = None) -> Path:
        """A kubeconfig with a bearer token; `server` when requests shall go through a proxy (plain HTTP)."""
        cluster: Object = {"server": server or self.url}
        if server is None:
            cluster["certificate-authority-data"] = base64.b64encode(self.certificate.read_bytes()).decode()
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "plane", "cluster": cluster}],
            "users": [{"name": name, "user": {"token": token}}],
            "contexts": [{"name": "plane", "context": {"cluster": "plane", "user": name, "namespace": "default"}}],
            "current-context": "plane",
        }
        path = self.folder / f"{name}{'-proxied' if server else ''}.kubeconfig"
        path.write_text(yaml.safe_dump(content))
        path.chmod(0o600)
        return path

    def kubectl(self, *arguments: str, stdin: str = "", check: bool = True) -> str:
        """Run kubectl as the administrator and return what it printed."""
        command = [programs.fetch(recipes.KUBERNETES) / "kubectl", "--kubeconfig", self.kubeconfig, *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
        if check and done.returncode:
            raise RuntimeError(f"kubectl {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def apply(self, *objects: Object) -> None:
        """Create or change objects, as a user with kubectl would."""
        content = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.kubectl("apply", "--server-side", "--field-manager=test", "-f", "-", stdin=json.dumps(content))

    def get(self, *arguments: str) -> Object:
        """One object, or a list's, as kubectl gets it."""
        found: Object = json.loads(self.kubectl("get", "-o", "json", *arguments))
        return found

    def start(self, name: str, command: Sequence[str | Path], environment: dict[str, str] | None = None) -> None:
        """Start a program that ends with the plane; its output goes to NAME.log in the plane's folder."""
        with (self.folder / f"{name}.log").open("ab") as log:
            self.children[name] = subprocess.Popen(
                [str(word) for word in command],
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def start_operator(self, options: Mapping[str, str], kubeconfig: Path | None = None) -> None:
        """Start the operator with `--name=value` for each option, as the administrator unless a kubeconfig is given."""
        words = [f"--{name}={value}" for name, value in options.items()]
        environment = {"KUBECONFIG": str(kubeconfig or self.kubeconfig)}
        self.start("operator", [sys.executable, "-m", "headrace_operator", *words], environment)

    def stop(self, name: str, *, kill: bool = False, seconds: float = 10.0) -> int:
        """Stop a program and return its exit status."""
        child = self.children.pop(name)
        child.kill() if kill else child.terminate()
        try:
            return child.wait(seconds)
        except subprocess.TimeoutExpired:
            child.kill()
            return child.wait()

    def start_api(self) -> None:
        """Start the API server and wait until it is ready."""
        self.start("kube-apiserver", [_kubernetes("kube-apiserver"), *self._api_options()])
        self.wait_ready()

    def stop_api(self, *, kill: bool = True) -> None:
        """Stop the API server; etcd keeps everything."""
        self.stop("kube-apiserver", kill=kill)

    def wait_ready(self) -> None:
        """Wait until the API server answers."""
        deadline = time.monotonic() + _READY_SECONDS
        while True:
            if self.certificate.exists() and self.kubectl("get", "--raw", "/readyz", check=False) == "ok":
                return
            ended = self.children["kube-apiserver"].poll()
            if ended is not None or time.monotonic() > deadline:
                log = (self.folder / "kube-apiserver.log").read_text()[-3000:]
                raise RuntimeError(f"the API server is not ready (exit status {ended}):\n{log}")
            time.sleep(0.1)

    def start_controllers(self) -> None:
        """Start the controller manager, with rights of an administrator and no limit on its own requests."""
        options = [
            f"--kubeconfig={self.kubeconfig}",
            f"--service-account-private-key-file={self.folder / 'service-account.key'}",
            "--leader-elect=false",
            "--kube-api-qps=1000",
            "--kube-api-burst=2000",
            "--concurrent-deployment-syncs=20",
            "--concurrent-replicaset-syncs=20",
            f"--secure-port={free_port()}",
            "--bind-address=127.0.0.1",
            f"--cert-dir={self.folder / 'controllers'}",
        ]
        self.start("kube-controller-manager", [_kubernetes("kube-controller-manager"), *options])

    def start_scheduler(self) -> None:
        """Start the scheduler."""
        options = [
            "--leader-elect=false",
            "--kube-api-qps=1000",
            "--kube-api-burst=2000",
            f"--kubeconfig={self.kubeconfig}",
            f"--secure-port={free_port()}",
            "--bind-address=127.0.0.1",
            f"--cert-dir={self.folder / 'scheduler'}",
        ]
        self.start("kube-scheduler", [_kubernetes("kube-scheduler"), *options])

    def start_fake_nodes(self, nodes: Sequence[Object]) -> None:
        """Start kwok, which makes `nodes` ready and runs the pods that are bound to them; see `embedded.fakenodes`."""
        options = [
            "--config=/dev/null",
            f"--kubeconfig={self.kubeconfig}",
            "--manage-all-nodes=true",
            "--cidr=10.200.0.1/16",
            "--node-lease-duration-seconds=200",
            "--v=WARN",
        ]
        self.start("kwok", [programs.fetch(recipes.KWOK) / "kwok", *options], {"HOME": str(self.folder)})
        for begin in range(0, len(nodes), 100):
            self.apply(*nodes[begin : begin + 100])
        deadline = time.monotonic() + _READY_SECONDS
        while self._ready_nodes() < len(nodes):
            if time.monotonic() > deadline:
                raise RuntimeError("fake nodes are not ready: " + (self.folder / "kwok.log").read_text()[-2000:])
            time.sleep(0.3)

    def _ready_nodes(self) -> int:
        conditions = [one for node in self.get("nodes")["items"] for one in node["status"].get("conditions", [])]
        return sum(one["type"] == "Ready" and one["status"] == "True" for one in conditions)

    def _api_options(self) -> list[str]:
        key = self.folder / "service-account.key"
        return [
            f"--etcd-servers=http://127.0.0.1:{self.etcd_port}",
            f"--secure-port={self.port}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none",
            f"--cert-dir={self.folder / 'apiserver'}",
            f"--token-auth-file={self.folder / 'tokens.csv'}",
            "--authorization-mode=Node,RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            "--service-cluster-ip-range=10.97.0.0/16",
            # Debian's etcd cannot serve it, and kwok asks for it again and again with growing pauses
            "--feature-gates=WatchList=false",
            *self.api_options,
        ]


@contextlib.contextmanager
def running(
    *, controllers: bool = False, scheduler: bool = False, crd: bool = True, api_options: Sequence[str] = ()
) -> Iterator[Plane]:
    """A control plane with the InferenceModel CRD in place.

    Args:
        controllers: with the controller manager: Deployments make pods, owner references are collected.
        scheduler: with the scheduler.
        crd: without the CRD when False.
        api_options: further options of the API server.
    """
    with tempfile.TemporaryDirectory(prefix="headrace-plane-") as name:
        plane = Plane(Path(name), free_port(), free_port(), {_ADMIN: secrets.token_hex(16)}, tuple(api_options))
        try:
            _prepare(plane)
            plane.start_api()
            if crd:
                plane.apply(custom_resource_definition())
                crds = f"crd/{custom_resource_definition()['metadata']['name']}"
                plane.kubectl("wait", "--for=condition=Established", crds, "--timeout=30s")
            if controllers:
                plane.start_controllers()
            if scheduler:
                plane.start_scheduler()
            yield plane
        finally:
            for child in reversed(list(plane.children)):
                plane.stop(child, kill=True)


def fake_nodes(count: int) -> list[Object]:
    """`count` GPU nodes of three types without taints, for `Plane.start_fake_nodes`."""
    nodes = fakenodes.objects(count)
    return [{**node, "spec": {}} for node in nodes]


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def answers(port: int, path: str) -> bool:
    """Whether a program listens on this port and answers `GET path` with 200."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:  # another status is one, too
        return False


def _prepare(plane: Plane) -> None:
    (plane.folder / "tokens.csv").write_text(f'{plane.tokens[_ADMIN]},{_ADMIN},{_ADMIN},"system:masters"\n')
    key = plane.folder / "service-account.key"
    subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
    peer, client = f"http://127.0.0.1:{free_port()}", f"http://127.0.0.1:{plane.etcd_port}"
    options = {
        "data-dir": plane.folder / "etcd",
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"default={peer}",
        "unsafe-no-fsync": "true",  # a test's data need not survive a loss of power
        "log-level": "warn",
    }
    etcd = debian.unpacked("etcd-server") / "usr/bin/etcd"
    plane.start("etcd", [etcd, *(f"--{key}={value}" for key, value in options.items())])


def _kubernetes(name: str) -> Path:
    return programs.fetch(recipes.KUBERNETES) / name
