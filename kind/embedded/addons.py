"""What a fresh cluster gets besides Kubernetes' own objects: rights for the programs, and the DNS Service."""

from typing import Any

from embedded import api, layout

_RBAC = "/apis/rbac.authorization.k8s.io/v1"
_SYSTEM = "/api/v1/namespaces/kube-system"


def ensure() -> bool:
    """Create the objects, or bring them up to date; True once done."""
    for collection, obj in objects():
        api.apply(collection, obj)
    return True


def objects() -> list[tuple[str, dict[str, Any]]]:
    """The objects, each with the path of its collection."""
    return [
        # the API server asks kubelets for logs and exec as this user
        *_grant("headrace:kubelet-client", "system:kubelet-api-admin", "kube-apiserver-kubelet-client"),
        (f"{_RBAC}/clusterroles", _dns_role()),
        *_grant("headrace:coredns", "headrace:coredns", "system:coredns"),
        (f"{_SYSTEM}/services", _dns_service()),
        (f"/apis/discovery.k8s.io/v1{_SYSTEM.removeprefix('/api/v1')}/endpointslices", _dns_endpoints()),
    ]


def _grant(name: str, role: str, user: str) -> list[tuple[str, dict[str, Any]]]:
    group = "rbac.authorization.k8s.io"
    binding = {
        "apiVersion": f"{group}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
    }
    return [(f"{_RBAC}/clusterrolebindings", binding)]


def _dns_role() -> dict[str, Any]:
    """What CoreDNS's Kubernetes plugin lists and watches, as its manifest upstream grants it."""
    reading = ["list", "watch"]
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "headrace:coredns"},
        "rules": [
            {"apiGroups": [""], "resources": ["endpoints", "services", "pods", "namespaces"], "verbs": reading},
            {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": reading},
        ],
    }


def _dns_service() -> dict[str, Any]:
    ports = [{"name": "dns", "protocol": "UDP", "port": 53}, {"name": "dns-tcp", "protocol": "TCP", "port": 53}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "kube-dns", "labels": {"k8s-app": "kube-dns", "kubernetes.io/name": "CoreDNS"}},
        # no selector: CoreDNS is a process on the host (see controlplane.coredns), so its endpoints are set by hand
        "spec": {"clusterIP": layout.DNS_SERVICE_ADDRESS, "ports": ports},
    }


def _dns_endpoints() -> dict[str, Any]:
    ports = [
        {"name": "dns", "protocol": "UDP", "port": layout.DNS_PORT},
        {"name": "dns-tcp", "protocol": "TCP", "port": layout.DNS_PORT},
    ]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "kube-dns-host", "labels": {"kubernetes.io/service-name": "kube-dns"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [layout.HOST_ADDRESS], "conditions": {"ready": True}}],
        "ports": ports,
    }
