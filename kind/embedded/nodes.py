"""Starting and stopping one node: its containerd, kubelet and kube-proxy in the node's own namespaces."""

import os
import subprocess
import time

from toolbox import steps

from embedded import api, cgroups, controlplane, imagestore, kubeconfigs, layout, network, nodeconfig, pki, process
from embedded.programs import Programs


def prepare(node: layout.Node, programs: Programs) -> None:
    """Make the node's namespaces, configuration, containerd and pause image; the API server is not needed yet."""
    pki.ensure((pki.node_certificate(node),))
    network.ensure_node(node)
    cgroups.ensure(node.cgroup)
    _write_configuration(node, programs)
    start_containerd(node, programs)
    imagestore.import_into(node, programs.containerd, [programs.pause_archive])


def start_containerd(node: layout.Node, programs: Programs) -> None:
    """Start the node's containerd and wait until it answers."""
    process.ensure(containerd(node, programs))
    deadline = time.monotonic() + 20
    while not _containerd_answers(node, programs):
        if process.running(_name("containerd", node)) is None or time.monotonic() > deadline:
            raise steps.StepError(
                f"containerd of {node.name} does not answer\n{process.tail(_name('containerd', node))}"
            )
        time.sleep(0.1)


def join(node: layout.Node, programs: Programs) -> list[str]:
    """Start the kubelet and kube-proxy and return which were started now; the API server has to answer by now."""
    return [
        program.name for program in (kubelet(node, programs), kube_proxy(node, programs)) if process.ensure(program)
    ]


def containerd(node: layout.Node, programs: Programs) -> process.Program:
    """The node's container runtime; it looks for its shim in PATH."""
    folder = programs.containerd
    path = f"{folder / 'usr/bin'}:{folder / 'usr/sbin'}:{os.environ.get('PATH', '')}"
    command: list[process.Word] = [folder / "usr/bin/containerd", "--config", node.folder / "containerd.toml"]
    return process.Program(_name("containerd", node), command, {"PATH": path}, node)


def kubelet(node: layout.Node, programs: Programs) -> process.Program:
    """The kubelet; a dead connection to the API server is given up after 8 s instead of 45."""
    options: dict[str, object] = {
        "cert-dir": layout.pki_dir(),
        "config": node.folder / "kubelet.json",
        "hostname-override": node.name,
        "kubeconfig": node.folder / "kubeconfig",
        "node-ip": node.address,
        "root-dir": node.folder / "kubelet",
    }
    env = {"HTTP2_READ_IDLE_TIMEOUT_SECONDS": "5", "HTTP2_PING_TIMEOUT_SECONDS": "3"}
    command: list[process.Word] = [programs.kubernetes / "kubelet", *controlplane.flags(options)]
    return process.Program(_name("kubelet", node), command, env, node)


def kube_proxy(node: layout.Node, programs: Programs) -> process.Program:
    """kube-proxy."""
    command: list[process.Word] = [programs.kubernetes / "kube-proxy", f"--config={node.folder / 'kube-proxy.json'}"]
    return process.Program(_name("kube-proxy", node), command, None, node)


def is_ready(node: layout.Node) -> bool:
    """Whether the node's kubelet answers and its Ready condition is true."""
    if not api.is_healthy(node.address, layout.KUBELET_HEALTH_PORT, "/healthz", tls=False):
        return False
    conditions = api.get(f"/api/v1/nodes/{node.name}").get("status", {}).get("conditions", [])
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def proxies(node: layout.Node) -> bool:
    """Whether the node's kube-proxy has written its rules."""
    return api.is_healthy(node.address, layout.PROXY_HEALTH_PORT, "/healthz", tls=False)


def kill(node: layout.Node) -> None:
    """Kill the node's kubelet and containerd at once, as a crash would; its pods' processes are left to themselves."""
    for program in ("kubelet", "containerd"):
        process.stop(_name(program, node), kill=True)


def _write_configuration(node: layout.Node, programs: Programs) -> None:
    kubeconfigs.write(node.folder / "kubeconfig", node.name, node.name)
    (node.folder / "cni").mkdir(parents=True, exist_ok=True)
    node.run_dir.mkdir(parents=True, exist_ok=True)
    file_system = steps.capture(["stat", "--file-system", "--format=%T", node.folder]).strip()
    texts = {
        "containerd.toml": nodeconfig.containerd(node, programs.containerd, nodeconfig.snapshotter(file_system)),
        "cni/10-headrace.conflist": nodeconfig.cni(node),
        "kubelet.json": nodeconfig.kubelet(node),
        "kube-proxy.json": nodeconfig.kube_proxy(node, controlplane.configuration("kube-proxy")),
    }
    for name, text in texts.items():
        kubeconfigs.replace(node.folder / name, text)


def _containerd_answers(node: layout.Node, programs: Programs) -> bool:
    command: list[process.Word] = [
        programs.containerd / "usr/bin/ctr",
        "--address",
        node.socket,
        "--connect-timeout",
        "1s",
        "version",
    ]
    return subprocess.run([str(word) for word in command], capture_output=True, check=False).returncode == 0


def _name(program: str, node: layout.Node) -> str:
    return f"{program}-{node.index}"
