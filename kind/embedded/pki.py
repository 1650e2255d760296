"""Keys and certificates of the cluster: one authority, one certificate per program, made with openssl.

Names and groups follow the Kubernetes documentation "PKI certificates and requirements", so that RBAC, the Node
authorizer and the NodeRestriction admission plugin treat each program as on any other cluster.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from toolbox import steps

from embedded import layout

_DAYS = "3650"
_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


@dataclass(frozen=True)
class Certificate:
    """A certificate to make.

    Attributes:
        name: file name without ending, such as `kube-apiserver`.
        user: the common name, which Kubernetes takes as the user's name.
        group: the organization, which Kubernetes takes as a group; none if empty.
        hosts: subject alternative names, such as `DNS:localhost`, for a program that listens.
    """

    name: str
    user: str
    group: str = ""
    hosts: tuple[str, ...] = ()

    @property
    def subject(self) -> str:
        """The subject as openssl wants it."""
        return (f"/O={self.group}" if self.group else "") + f"/CN={self.user}"


API_SERVER_HOSTS = (
    "DNS:kubernetes",
    "DNS:kubernetes.default",
    "DNS:kubernetes.default.svc",
    f"DNS:kubernetes.default.svc.{layout.CLUSTER_DOMAIN}",
    "DNS:localhost",
    f"IP:{layout.HOST_ADDRESS}",
    f"IP:{layout.API_SERVICE_ADDRESS}",
)
CONTROL_PLANE = (
    Certificate("kube-apiserver", "kube-apiserver", hosts=API_SERVER_HOSTS),
    Certificate("etcd", "etcd", hosts=("DNS:localhost", "IP:127.0.0.1")),
    Certificate("etcd-client", "kube-apiserver-etcd-client"),
    Certificate("kubelet-client", "kube-apiserver-kubelet-client"),
    Certificate("front-proxy", "front-proxy-client"),
    Certificate("admin", "kubernetes-admin", "system:masters"),
    Certificate("kube-controller-manager", "system:kube-controller-manager", hosts=(f"IP:{layout.HOST_ADDRESS}",)),
    Certificate("kube-scheduler", "system:kube-scheduler", hosts=(f"IP:{layout.HOST_ADDRESS}",)),
    Certificate("kube-proxy", "system:kube-proxy"),
    Certificate("coredns", "system:coredns"),
)


def node_certificate(node: layout.Node) -> Certificate:
    """The kubelet's certificate, with which it both calls the API server and serves logs and exec."""
    hosts = (f"DNS:{node.name}", f"IP:{node.address}")
    return Certificate(node.name, f"system:node:{node.name}", "system:nodes", hosts)


def ensure(certificates: tuple[Certificate, ...]) -> None:
    """Make what is missing of the authority, the service-account key and `certificates`."""
    folder = layout.pki_dir()
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    if shutil.which("openssl") is None:
        raise steps.StepError("openssl is not installed; it makes the cluster's certificates")
    _make(folder / "ca", ["req", "-x509", *_KEY, "-days", _DAYS, "-subj", "/CN=headrace-ca", *_extensions(_AUTHORITY)])
    _make(folder / "service-account", ["genrsa", "2048"])
    for certificate in certificates:
        _make(folder / certificate.name, _request(folder, certificate))


_AUTHORITY = ("basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,digitalSignature")


def _request(folder: Path, certificate: Certificate) -> list[str]:
    usage = "clientAuth,serverAuth" if certificate.hosts else "clientAuth"
    extensions = ["basicConstraints=critical,CA:FALSE", "keyUsage=critical,digitalSignature"]
    extensions.append(f"extendedKeyUsage={usage}")
    if certificate.hosts:
        extensions.append(f"subjectAltName={','.join(certificate.hosts)}")
    authority = ["-CA", str(folder / "ca.crt"), "-CAkey", str(folder / "ca.key")]
    options = [*_KEY, "-days", _DAYS, "-subj", certificate.subject, *authority]
    return ["req", "-x509", *options, *_extensions(tuple(extensions))]


def _extensions(values: tuple[str, ...]) -> list[str]:
    return [word for value in values for word in ("-addext", value)]


def _make(base: Path, arguments: list[str]) -> None:
    """Run openssl for `base.key` (and `base.crt`); the key gets its name last, so that what has it is complete."""
    key, certificate = base.with_name(f"{base.name}.key"), base.with_name(f"{base.name}.crt")
    if key.exists():
        return
    partial = base.with_name(f"{base.name}.partial")
    outputs = ["-out", str(partial)]
    if arguments[0] == "req":
        outputs = ["-keyout", str(partial), "-out", str(certificate)]
    options = arguments[1:-1] if arguments[0] == "genrsa" else arguments[1:]
    tail = [arguments[-1]] if arguments[0] == "genrsa" else []
    steps.run(["openssl", arguments[0], *options, *outputs, *tail], log="pki")
    partial.chmod(0o600)
    partial.rename(key)
