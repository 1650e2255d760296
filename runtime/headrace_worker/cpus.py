"""How many CPUs this process may use: its affinity, cut down by the limits of its control groups, of either version.

The paths are those of the kernel's documentation (cgroup-v1/cpusets, scheduler/sched-bwc; cgroup-v2), at the mount
points that systemd and every container runtime use. A limit holds for all groups below it, so every group from this
process's own up to the top is asked; those that a container does not see are left out.
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path

_MOUNT = "sys/fs/cgroup"


def cpu_count(root: Path = Path("/"), affinity: int | None = None) -> int:
    """Whole CPUs, at least 1; a part of one counts as one, as Java and Go count it.

    Args:
        root: where `/proc` and `/sys` are.
        affinity: CPUs that the scheduler may put this process on; asked of the kernel when absent.
    """
    allowed = len(os.sched_getaffinity(0)) if affinity is None else affinity
    return max(1, math.ceil(min([allowed, *_limits(root)])))


def _limits(root: Path) -> Iterator[float]:
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            yield from _limits_v2(root / _MOUNT, path)
        elif "cpu" in controllers.split(","):
            yield from _limits_v1(root / _MOUNT / controllers, path)
            yield from _limits_v1(root / _MOUNT / "cpu", path)


def _limits_v2(mount: Path, path: str) -> Iterator[float]:
    for group in _upwards(mount, path):
        match _text(group / "cpu.max").split():
            case [quota, period] if quota != "max":
                yield int(quota) / int(period)


def _limits_v1(mount: Path, path: str) -> Iterator[float]:
    for group in _upwards(mount, path):
        quota, period = _text(group / "cpu.cfs_quota_us"), _text(group / "cpu.cfs_period_us")
        if quota and period and int(quota) > 0:
            yield int(quota) / int(period)


def _upwards(mount: Path, path: str) -> Iterator[Path]:
    group = mount / path.lstrip("/")
    yield group
    while group != mount:
        group = group.parent
        yield group


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except OSError:
        return ""
