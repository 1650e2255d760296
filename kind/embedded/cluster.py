"""Bringing the embedded cluster up, and taking all of it down again."""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from toolbox import paths, steps

from embedded import (
    addons,
    api,
    cgroups,
    controlplane,
    kubeconfigs,
    layout,
    network,
    nodes,
    pki,
    process,
    programs,
    sysctls,
)

_API_SECONDS = 90
_READY_SECONDS = 120
_OWNER = layout.RUN_DIR / "owner"


def up(count: int) -> programs.Programs:
    """Bring up a cluster of at least `count` nodes, or what is missing of it; return once all of it is healthy.

    Raises:
        StepError: a step failed; what runs by then goes on running, and the next call continues from there.
    """
    _require_root()
    with _alone():
        _claim()
        found = programs.gather()
        wanted = [layout.Node(index) for index in range(1, count + 1)]
        members = sorted({*wanted, *layout.nodes()}, key=lambda node: node.index)
        _start_control_plane(found)
        with ThreadPoolExecutor() as pool:
            prepared = [pool.submit(nodes.prepare, node, found) for node in members]
            _finish_control_plane(found)
            for task in prepared:
                task.result()
        network.connect(members)
        _join(members, found)
        kubeconfigs.publish(found.kubectl)
    return found


def down() -> None:
    """Remove every process, mount, link, namespace, cgroup and file of the cluster; keep its logs and the cache.

    Works for a cluster that is only partly up, and does nothing where there is none.
    """
    _require_root()
    with _alone():
        _refuse_another_owner()
        for name in process.names():
            process.stop(name, kill=True)
        cgroups.remove()
        network.remove()
        sysctls.restore()
        kubectl = programs.installed_kubectl()
        if kubectl:
            kubeconfigs.withdraw(kubectl)
        shutil.rmtree(layout.RUN_DIR, ignore_errors=True)
        shutil.rmtree(layout.cluster_dir(), ignore_errors=True)
        layout.kubeconfig().unlink(missing_ok=True)


def exists() -> bool:
    """Whether there is an embedded cluster, whole or partial."""
    return layout.pki_dir().exists()


def _start_control_plane(found: programs.Programs) -> None:
    pki.ensure(pki.CONTROL_PLANE)
    sysctls.remember()
    for user in controlplane.users():
        kubeconfigs.write(controlplane.configuration(user), user, user)
    kubeconfigs.write(layout.kubeconfig(), layout.NAME, "admin")
    network.ensure_bridge()
    _ensure(controlplane.etcd(found), controlplane.api_server(found))


def _finish_control_plane(found: programs.Programs) -> None:
    _wait("kube-apiserver", lambda: api.is_healthy(layout.HOST_ADDRESS, layout.API_PORT, "/readyz"), _API_SECONDS)
    resolv_conf = controlplane.host_resolv_conf()
    kubeconfigs.replace(controlplane.corefile_path(), controlplane.corefile(resolv_conf))
    _ensure(controlplane.controller_manager(found), controlplane.scheduler(found), controlplane.coredns(found))
    # what it builds on, such as the namespace kube-system, may come a moment after the server is ready
    api.wait("the cluster DNS is set up", addons.ensure, seconds=30)


def _join(members: list[layout.Node], found: programs.Programs) -> None:
    for node in members:
        _announce(nodes.join(node, found))
    checks: dict[str, Callable[[], bool]] = {
        "kube-controller-manager": lambda: api.is_healthy(layout.HOST_ADDRESS, 10257, "/healthz"),
        "kube-scheduler": lambda: api.is_healthy(layout.HOST_ADDRESS, 10259, "/healthz"),
        "coredns": lambda: api.is_healthy(layout.HOST_ADDRESS, layout.DNS_READY_PORT, "/ready", tls=False),
    }
    for node in members:
        checks[f"kubelet-{node.index}"] = lambda node=node: nodes.is_ready(node)  # type: ignore[misc]
        checks[f"kube-proxy-{node.index}"] = lambda node=node: nodes.proxies(node)  # type: ignore[misc]
    for name, check in checks.items():
        _wait(name, check, _READY_SECONDS)
    steps.say(f"ready: {', '.join(node.name for node in members)}")


def _ensure(*wanted: process.Program) -> None:
    _announce([program.name for program in wanted if process.ensure(program)])


def _announce(started: list[str]) -> None:
    if started:
        steps.say(f"started {', '.join(started)}")


def _wait(name: str, check: Callable[[], bool], seconds: float) -> None:
    """Wait for a program to be healthy; give up as soon as it has ended."""

    def healthy() -> bool:
        if process.running(name) is None:
            raise steps.StepError(f"{name} has ended:\n{process.tail(name)}")
        return check()

    try:
        api.wait(f"{name} is healthy", healthy, seconds=seconds)
    except api.Timeout as error:
        raise steps.StepError(f"{error}\n{process.tail(name)}") from error


def _claim() -> None:
    """Note whose the machine-wide names (links, cgroups, sockets) are."""
    _refuse_another_owner()
    kubeconfigs.replace(_OWNER, f"{paths.state_dir().resolve()}\n")


def _refuse_another_owner() -> None:
    owner = _OWNER.read_text().strip() if _OWNER.exists() else ""
    if owner and owner != str(paths.state_dir().resolve()):
        raise steps.StepError(
            f"this machine runs the cluster of the state folder {owner}, and only one fits:"
            f" HEADRACE_STATE={owner} kind/down takes it down"
        )


def _require_root() -> None:
    if os.geteuid() != 0:
        raise steps.StepError("the embedded cluster makes network namespaces and mounts: run this as root (sudo)")


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Let one kind/up or kind/down at a time change the cluster."""
    path = paths.state_dir() / "cluster.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            steps.say("waiting for another kind/up or kind/down to finish")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
