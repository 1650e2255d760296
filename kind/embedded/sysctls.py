"""The kernel settings that a kubelet changes for the whole machine: remembered before, set back by kind/down."""

import json
from pathlib import Path

from toolbox import steps

from embedded import kubeconfigs, layout

_NAMES = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
"""See setupKernelTunables in Kubernetes' pkg/kubelet/cm/container_manager_linux.go."""


def remember() -> None:
    """Keep the settings as they are now, unless they are kept already."""
    if not _memory().exists():
        kubeconfigs.replace(_memory(), json.dumps({name: _path(name).read_text().strip() for name in _NAMES}))


def restore() -> None:
    """Set the settings back to what was kept, if anything was."""
    if not _memory().exists():
        return
    for name, value in json.loads(_memory().read_text()).items():
        if _path(name).read_text().strip() == value:
            continue
        try:
            _path(name).write_text(value)
        except OSError as error:
            steps.say(f"cannot set {_path(name)} back to {value}: {error.strerror}")


def _path(name: str) -> Path:
    return Path("/proc/sys", name)


def _memory() -> Path:
    return layout.cluster_dir() / "sysctls.json"
