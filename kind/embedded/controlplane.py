"""The control plane on the host: etcd, the API server, controller manager, scheduler, and CoreDNS.

It runs as on a kubeadm cluster (authorization by Node and RBAC, NodeRestriction and PodSecurity admission, a
certificate per program), except that everything listens on the bridge's address or on loopback and that a lost node
is noticed within 20 s instead of 50.
"""

from pathlib import Path

from embedded import layout, process
from embedded.programs import Programs

NODE_GRACE_SECONDS = 20
"""How long a silent node counts as ready."""
EVICTION_SECONDS = 15
"""How long pods stay on a node that is not ready or not reachable."""

_USERS = ("admin", "kube-controller-manager", "kube-scheduler", "kube-proxy", "coredns")


def configuration(user: str) -> Path:
    """The kubeconfig of the program or person called `user`."""
    return layout.cluster_dir() / "kubeconfigs" / user


def users() -> tuple[str, ...]:
    """Everybody but the nodes who needs a kubeconfig."""
    return _USERS


def etcd(programs: Programs) -> process.Program:
    """The database: TLS with client certificates, because every local user can reach loopback."""
    pki = layout.pki_dir()
    client = f"https://127.0.0.1:{layout.ETCD_PORT}"
    peer = f"http://127.0.0.1:{layout.ETCD_PEER_PORT}"
    options = {
        "name": layout.NAME,
        "data-dir": layout.cluster_dir() / "etcd",
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"{layout.NAME}={peer}",
        "client-cert-auth": "true",
        "trusted-ca-file": pki / "ca.crt",
        "cert-file": pki / "etcd.crt",
        "key-file": pki / "etcd.key",
        "snapshot-count": 10000,
        "log-level": "warn",
        "logger": "zap",
    }
    return process.Program("etcd", [programs.etcd, *flags(options)])


def api_server(programs: Programs) -> process.Program:
    """The API server."""
    pki = layout.pki_dir()
    options = {
        "advertise-address": layout.HOST_ADDRESS,
        "bind-address": layout.HOST_ADDRESS,
        "secure-port": layout.API_PORT,
        "allow-privileged": "true",
        "authorization-mode": "Node,RBAC",
        "enable-admission-plugins": "NodeRestriction",
        "client-ca-file": pki / "ca.crt",
        "tls-cert-file": pki / "kube-apiserver.crt",
        "tls-private-key-file": pki / "kube-apiserver.key",
        "default-not-ready-toleration-seconds": EVICTION_SECONDS,
        "default-unreachable-toleration-seconds": EVICTION_SECONDS,
        "profiling": "false",
        "service-cluster-ip-range": layout.SERVICE_NETWORK,
        **_etcd_options(pki),
        **_kubelet_options(pki),
        **_service_account_options(pki),
        **_aggregation_options(pki),
    }
    return process.Program("kube-apiserver", [programs.kubernetes / "kube-apiserver", *flags(options)])


def controller_manager(programs: Programs) -> process.Program:
    """The controller manager, each controller with a service account of its own."""
    pki = layout.pki_dir()
    options = {
        **_client_options("kube-controller-manager", pki),
        "allocate-node-cidrs": "false",
        "flex-volume-plugin-dir": layout.cluster_dir() / "volume-plugins",
        "cluster-signing-cert-file": pki / "ca.crt",
        "cluster-signing-key-file": pki / "ca.key",
        "node-monitor-grace-period": f"{NODE_GRACE_SECONDS}s",
        "node-monitor-period": "2s",
        "root-ca-file": pki / "ca.crt",
        "service-account-private-key-file": pki / "service-account.key",
        "use-service-account-credentials": "true",
    }
    name = "kube-controller-manager"
    return process.Program(name, [programs.kubernetes / name, *flags(options)])


def scheduler(programs: Programs) -> process.Program:
    """The scheduler."""
    options = _client_options("kube-scheduler", layout.pki_dir())
    return process.Program("kube-scheduler", [programs.kubernetes / "kube-scheduler", *flags(options)])


def coredns(programs: Programs) -> process.Program:
    """CoreDNS, as a process on the host that pods reach through the Service kube-dns.

    A Deployment would need an image and, on a cluster that is just coming up, a node and the network first; a process
    answers as soon as the API server does and lives on while nodes are killed in tests.
    """
    return process.Program("coredns", [programs.coredns, "-conf", corefile_path()])


def corefile_path() -> Path:
    """Where CoreDNS's configuration lies."""
    return layout.cluster_dir() / "Corefile"


def corefile(resolv_conf: str) -> str:
    """CoreDNS's configuration.

    Args:
        resolv_conf: text of the host's /etc/resolv.conf. Names outside the cluster are forwarded to its servers;
            without any there is nothing to forward to. Nothing can loop: these servers are the host's, and the
            host does not ask CoreDNS.
    """
    servers = [line.split()[1] for line in resolv_conf.splitlines() if line.startswith("nameserver ")]
    lines = [
        f".:{layout.DNS_PORT} {{",
        f"    bind {layout.HOST_ADDRESS}",
        "    errors",
        f"    health {layout.HOST_ADDRESS}:{layout.DNS_HEALTH_PORT}",
        f"    ready {layout.HOST_ADDRESS}:{layout.DNS_READY_PORT}",
        f"    kubernetes {layout.CLUSTER_DOMAIN} in-addr.arpa ip6.arpa {{",
        f"        kubeconfig {configuration('coredns')}",
        "        pods insecure",
        "        fallthrough in-addr.arpa ip6.arpa",
        "        ttl 5",
        "    }",
        *([f"    forward . {' '.join(servers[:3])}"] if servers else []),
        # short, because tests make Services and ask for them at once
        "    cache 5",
        "    loadbalance",
        "}",
    ]
    return "\n".join(lines) + "\n"


def host_resolv_conf() -> str:
    """The text of the host's /etc/resolv.conf; empty if it has none."""
    path = Path("/etc/resolv.conf")
    return path.read_text() if path.exists() else ""


def flags(options: dict[str, object]) -> list[str]:
    """Options as the command line has them: `--name=value`, in alphabetic order."""
    return [f"--{name}={value}" for name, value in sorted(options.items())]


def _etcd_options(pki: Path) -> dict[str, object]:
    return {
        "etcd-servers": f"https://127.0.0.1:{layout.ETCD_PORT}",
        "etcd-cafile": pki / "ca.crt",
        "etcd-certfile": pki / "etcd-client.crt",
        "etcd-keyfile": pki / "etcd-client.key",
    }


def _kubelet_options(pki: Path) -> dict[str, object]:
    return {
        "kubelet-certificate-authority": pki / "ca.crt",
        "kubelet-client-certificate": pki / "kubelet-client.crt",
        "kubelet-client-key": pki / "kubelet-client.key",
        "kubelet-preferred-address-types": "InternalIP",
    }


def _service_account_options(pki: Path) -> dict[str, object]:
    return {
        "service-account-issuer": f"https://kubernetes.default.svc.{layout.CLUSTER_DOMAIN}",
        "service-account-key-file": pki / "service-account.key",
        "service-account-signing-key-file": pki / "service-account.key",
    }


def _aggregation_options(pki: Path) -> dict[str, object]:
    return {
        "proxy-client-cert-file": pki / "front-proxy.crt",
        "proxy-client-key-file": pki / "front-proxy.key",
        "requestheader-allowed-names": "front-proxy-client",
        "requestheader-client-ca-file": pki / "ca.crt",
        "requestheader-extra-headers-prefix": "X-Remote-Extra-",
        "requestheader-group-headers": "X-Remote-Group",
        "requestheader-username-headers": "X-Remote-User",
    }


def _client_options(name: str, pki: Path) -> dict[str, object]:
    return {
        "authentication-kubeconfig": configuration(name),
        "authorization-kubeconfig": configuration(name),
        "kubeconfig": configuration(name),
        "bind-address": layout.HOST_ADDRESS,
        "client-ca-file": pki / "ca.crt",
        "leader-elect": "false",
        "profiling": "false",
        "requestheader-client-ca-file": pki / "ca.crt",
        "tls-cert-file": pki / f"{name}.crt",
        "tls-private-key-file": pki / f"{name}.key",
    }
