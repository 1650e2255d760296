"""The cluster's cgroups: `headrace`, with the programs in `system` and each node's pods in a folder of its own.

With cgroup v1 every controller is a tree of its own, with v2 there is one tree (see cgroups(7)). Being in these cgroups
is also how kind/down knows the containers and their shims, which have no pid file.
"""

import contextlib
import os
import signal
import time
from pathlib import Path

from toolbox import steps

from embedded import layout

_MOUNT = Path("/sys/fs/cgroup")
_SYSTEM = f"/{layout.NAME}/system"
_V2_CONTROLLERS = ("cpu", "cpuset", "io", "memory", "pids", "hugetlb")


def is_v2() -> bool:
    """Whether the machine has cgroup v2 only."""
    return (_MOUNT / "cgroup.controllers").exists()


def trees() -> list[Path]:
    """The root of every cgroup tree: the mount itself with v2, each controller's mount with v1."""
    if is_v2():
        return [_MOUNT]
    mounts = (path for path in _MOUNT.iterdir() if (path / "cgroup.procs").exists() and not path.is_symlink())
    # v1 machines may show an empty v2 tree as `unified`; the kubelet does not use it
    return sorted(path for path in mounts if not (path / "cgroup.controllers").exists())


def ensure(cgroup: str) -> None:
    """Make `cgroup`, such as `/headrace/headrace-1`, in every tree, able to hold processes and to limit them."""
    parts = cgroup.strip("/").split("/")
    for tree in trees():
        folder = tree
        for part in parts:
            if is_v2():
                _delegate(folder)
            child = folder / part
            child.mkdir(exist_ok=True)
            _inherit_cpuset(folder, child)
            folder = child


def entrances() -> list[Path]:
    """Return the files that a process writes its id to, to join the programs' cgroup; made if needed.

    None for a user who may not make any: kwok, the only program that runs beside a container engine, needs none.
    """
    if os.geteuid() != 0:
        return []
    ensure(_SYSTEM)
    return [tree / _SYSTEM.strip("/") / "cgroup.procs" for tree in trees()]


def remove(cgroup: str = f"/{layout.NAME}", *, patience_seconds: float = 20.0) -> None:
    """Kill every process below `cgroup` and remove it from every tree; does nothing if it is not there.

    Raises:
        StepError: a process or a cgroup outlived the patience.
    """
    deadline = time.monotonic() + patience_seconds
    # with v1, runc may leave folders in an otherwise unused v2 tree, too
    places = [tree / cgroup.strip("/") for tree in (*trees(), _MOUNT / "unified")]
    while left := [folder for folder in places if folder.exists()]:
        for folder in left:
            _kill(folder)
            _remove_folders(folder)
        if time.monotonic() > deadline:
            raise steps.StepError(f"these cgroups do not go away: {' '.join(map(str, left))}")
        time.sleep(0.05)


def _kill(folder: Path) -> None:
    for procs in folder.rglob("cgroup.procs"):
        with contextlib.suppress(OSError):  # the folder went while we looked
            for pid in procs.read_text().split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)


def _remove_folders(folder: Path) -> None:
    for root, folders, _ in os.walk(folder, topdown=False):
        for name in folders:
            with contextlib.suppress(OSError):
                (Path(root) / name).rmdir()
    with contextlib.suppress(OSError):
        folder.rmdir()


def _delegate(folder: Path) -> None:
    """Let the children of a v2 cgroup limit what the machine can limit."""
    available = (folder / "cgroup.controllers").read_text().split()
    wanted = " ".join(f"+{name}" for name in _V2_CONTROLLERS if name in available)
    try:
        (folder / "cgroup.subtree_control").write_text(wanted)
    except OSError as error:
        raise steps.StepError(
            f"{folder} cannot hand the controllers {wanted} on ({error.strerror}): in a container, its processes"
            " have to sit in a child cgroup first; on a machine, run as root"
        ) from error


def _inherit_cpuset(parent: Path, child: Path) -> None:
    """Copy what a v1 cpuset needs before it accepts processes."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        target = child / name
        if not is_v2() and target.exists() and not target.read_text().strip():
            target.write_text((parent / name).read_text())
