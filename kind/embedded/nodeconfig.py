"""The configuration of a node's containerd, CNI, kubelet and kube-proxy, as text; no effects."""

import json
from pathlib import Path

from embedded import layout

_UNUSED_PLUGINS = (
    "io.containerd.internal.v1.opt",  # would make /opt/containerd
    "io.containerd.internal.v1.restart",
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.zfs",
    "io.containerd.tracing.processor.v1.otlp",
)


def snapshotter(file_system: str) -> str:
    """The containerd snapshotter for images on that file system: overlayfs does not stack on itself."""
    return "native" if file_system in {"overlayfs", "overlay"} else "overlayfs"


def containerd(node: layout.Node, programs: Path, image_snapshotter: str) -> str:
    """Containerd's configuration.

    Args:
        node: whose.
        programs: the folder that the Debian packages are unpacked in.
        image_snapshotter: see `snapshotter`.
    """
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    quoted = json.dumps
    return f"""version = 2
root = {quoted(str(node.folder / "containerd"))}
state = {quoted(str(node.run_dir / "containerd"))}
disabled_plugins = {json.dumps(_UNUSED_PLUGINS)}

[grpc]
address = {quoted(str(node.socket))}

[debug]
level = "warn"

[{cri}]
sandbox_image = "{layout.PAUSE_IMAGE}"
netns_mounts_under_state_dir = true
# without CAP_SYS_RESOURCE no process may get a lower score than its parent has
restrict_oom_score_adj = true
disable_hugetlb_controller = true

[{cri}.cni]
bin_dir = {quoted(str(programs / "usr/lib/cni"))}
conf_dir = {quoted(str(node.folder / "cni"))}

[{cri}.containerd]
snapshotter = "{image_snapshotter}"
default_runtime_name = "runc"

[{cri}.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[{cri}.containerd.runtimes.runc.options]
BinaryName = {quoted(str(programs / "usr/sbin/runc"))}
"""


def cni(node: layout.Node) -> str:
    """The pod network: one veth pair per pod and routes, no bridge.

    On a bridge, the answer of a Service's pod to another pod of the same node would take the short way, past the
    address translation that has to undo kube-proxy's.
    """
    ipam = {
        "type": "host-local",
        "dataDir": str(node.run_dir / "cni"),
        "ranges": [[{"subnet": node.pod_network}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    plugins = [
        {"type": "ptp", "ipMasq": False, "ipam": ipam},
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ]
    return json.dumps({"cniVersion": "1.0.0", "name": layout.NAME, "plugins": plugins}, indent=1)


def kubelet(node: layout.Node) -> str:
    """The kubelet's configuration: defaults, but for what a guest on a developer's machine needs.

    It does not evict pods because the machine's disk is nearly full, tolerates swap and cgroup v1, reports often enough
    for a lost node to be noticed in 20 s, and brings a changed ConfigMap into pods in 10 to 15 s instead of 60 to 90.
    """
    pki = layout.pki_dir()
    tight = {
        "memory.available": "100Mi",
        "nodefs.available": "1%",
        "imagefs.available": "1%",
        "nodefs.inodesFree": "1%",
    }
    content = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {"anonymous": {"enabled": False}, "x509": {"clientCAFile": str(pki / "ca.crt")}},
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": node.cgroup,
        "failCgroupV1": False,
        "clusterDNS": [layout.DNS_SERVICE_ADDRESS],
        "clusterDomain": layout.CLUSTER_DOMAIN,
        "containerRuntimeEndpoint": f"unix://{node.socket}",
        "evictionHard": tight,
        "failSwapOn": False,
        "healthzBindAddress": node.address,
        "healthzPort": layout.KUBELET_HEALTH_PORT,
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "maxPods": 110,
        "nodeLeaseDurationSeconds": 16,
        "nodeStatusUpdateFrequency": "4s",
        "oomScoreAdj": 0,
        "podLogsDir": str(node.folder / "pod-logs"),
        "resolvConf": "",
        "serializeImagePulls": False,
        "syncFrequency": "10s",
        "tlsCertFile": str(pki / f"{node.name}.crt"),
        "tlsPrivateKeyFile": str(pki / f"{node.name}.key"),
        "volumePluginDir": str(node.folder / "volume-plugins"),
    }
    return json.dumps(content, indent=1)


def kube_proxy(node: layout.Node, kubeconfig: Path) -> str:
    """kube-proxy's configuration: iptables in the node's namespace; the machine's conntrack limits stay as they are."""
    content = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "clusterCIDR": layout.POD_NETWORK,
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "healthzBindAddress": f"{node.address}:{layout.PROXY_HEALTH_PORT}",
        "hostnameOverride": node.name,
        "mode": "iptables",
        "oomScoreAdj": 0,
    }
    return json.dumps(content, indent=1)
