"""The bridge that host and nodes share, and each node's own network and mount namespace.

The nodes reach each other over the bridge and the host reaches pods and Services by routes through nodes, so the host
itself never forwards anything: neither its ip_forward setting nor its iptables rules change. Deleting a namespace takes
the bridges, routes and iptables rules in it along.
"""

import contextlib
import json
import subprocess
from pathlib import Path

from embedded import layout
from toolbox import steps

_LOG = "network"
_NAMESPACES = layout.RUN_DIR / "namespaces"

PRIVATE_FOLDERS = tuple(
    Path(path) for path in ("/run/containerd", "/var/lib/cni", "/var/lib/kubelet", "/var/log/containers")
)
"""Folders that containerd, its CNI library and the kubelet (its device plugins) use and cannot be told otherwise.

Each node sees an empty one of its own, so that nothing of ours lies in the host's.
"""


def ensure_bridge() -> None:
    """Make the bridge with the host's address, after a look whether the network is free."""
    if not _exists(layout.BRIDGE):
        _refuse_taken_network()
        _ip("link", "add", layout.BRIDGE, "type", "bridge")
    _ip("addr", "replace", f"{layout.HOST_ADDRESS}/24", "dev", layout.BRIDGE)
    _ip("link", "set", layout.BRIDGE, "up")


def ensure_node(node: layout.Node) -> None:
    """Make the node's namespaces and its veth pair to the bridge."""
    _ensure_private_mount()
    _ensure_net_namespace(node)
    _ensure_mount_namespace(node)
    _ensure_link(node)
    _ip("route", "replace", node.pod_network, "via", node.address, "dev", layout.BRIDGE)
    if node.index == 1:
        # the host, and so the API server, reaches Services through the first node's kube-proxy
        _ip("route", "replace", layout.SERVICE_NETWORK, "via", node.address, "dev", layout.BRIDGE)


def connect(nodes: list[layout.Node]) -> None:
    """Give every node the routes to the other nodes' pods."""
    for node in nodes:
        others = [other for other in nodes if other != node]
        routes = [f"route replace {other.pod_network} via {other.address} dev eth0" for other in others]
        if routes:
            _ip("-batch", "-", inside=node, stdin="\n".join(routes) + "\n")


def remove() -> None:
    """Remove every link, route, namespace and mount of ours, of a whole or of a partial cluster."""
    for link in _links():
        with contextlib.suppress(steps.StepError):  # its peer may have gone with its namespace in the meantime
            _ip("link", "delete", link)
    for mount in sorted(_mounts(), reverse=True):
        steps.run(["umount", "--lazy", mount], log=_LOG)
    for folder in PRIVATE_FOLDERS:
        marker = _marker(folder)
        if marker.exists():
            with contextlib.suppress(OSError):  # somebody else uses it by now
                folder.rmdir()
            marker.unlink()


def _ensure_private_mount() -> None:
    """Make a folder that may hold mount namespaces: its mount must not propagate (see unshare(1))."""
    _NAMESPACES.mkdir(parents=True, exist_ok=True)
    if str(_NAMESPACES) not in _mounts():
        steps.run(["mount", "--bind", _NAMESPACES, _NAMESPACES], log=_LOG)
        steps.run(["mount", "--make-private", _NAMESPACES], log=_LOG)


def _ensure_net_namespace(node: layout.Node) -> None:
    if str(node.net_namespace) in _mounts():
        return
    node.net_namespace.touch()
    steps.run(["unshare", f"--net={node.net_namespace}", "true"], log=_LOG)


def _ensure_mount_namespace(node: layout.Node) -> None:
    """A copy of the host's mounts, in which the folders that cannot be moved are the node's own."""
    if str(node.mount_namespace) in _mounts():
        return
    node.mount_namespace.touch()
    script = ["set -e", "mount --make-rshared /"]
    for folder in PRIVATE_FOLDERS:
        if not folder.exists():
            folder.mkdir(parents=True, exist_ok=True)
            _marker(folder).parent.mkdir(parents=True, exist_ok=True)
            _marker(folder).touch()
        script.append(f"mount -t tmpfs -o mode=755 headrace {folder}")
    command = ["unshare", f"--mount={node.mount_namespace}", "--propagation", "slave", "sh", "-c", "\n".join(script)]
    steps.run(command, log=_LOG)


def _ensure_link(node: layout.Node) -> None:
    if not _exists(node.link):
        _ip("link", "add", node.link, "type", "veth", "peer", "name", "eth0", "netns", str(node.net_namespace))
    _ip("link", "set", node.link, "master", layout.BRIDGE, "up")
    setup = [
        "link set lo up",
        "link set eth0 up",
        f"addr replace {node.address}/24 dev eth0",
        f"route replace default via {layout.HOST_ADDRESS}",
    ]
    _ip("-batch", "-", inside=node, stdin="\n".join(setup) + "\n")
    forward = "echo 1 > /proc/sys/net/ipv4/ip_forward"
    steps.run(["nsenter", f"--net={node.net_namespace}", "sh", "-c", forward], log=_LOG)


def _refuse_taken_network() -> None:
    for network in (layout.NODE_NETWORK, layout.POD_NETWORK, layout.SERVICE_NETWORK):
        taken = [line for line in steps.capture(["ip", "route", "show", "root", network]).splitlines() if line.strip()]
        if taken:
            raise steps.StepError(f"the network {network}, which the cluster needs, is in use: {taken[0]}")


def _ip(*arguments: str, inside: layout.Node | None = None, stdin: str | None = None) -> None:
    enter = ["nsenter", f"--net={inside.net_namespace}"] if inside else []
    steps.run([*enter, "ip", *arguments], log=_LOG, stdin=stdin)


def _exists(link: str) -> bool:
    return Path("/sys/class/net", link).exists()


def _links() -> list[str]:
    result = subprocess.run(["ip", "-json", "link", "show"], capture_output=True, text=True, check=True)
    names = [link["ifname"] for link in json.loads(result.stdout)]
    return [name for name in names if name == layout.BRIDGE or name.startswith(f"{layout.NAME}-v")]


def _mounts() -> list[str]:
    """Mount points below our folders, once per mount."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    ours = (f"{layout.RUN_DIR}/", f"{layout.cluster_dir()}/")
    return [point for point in points if point.startswith(ours)]


def _marker(folder: Path) -> Path:
    return layout.cluster_dir() / "made" / str(folder).strip("/").replace("/", "-")
