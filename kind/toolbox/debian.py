"""Debian packages: installed after saying so, or unpacked into the cache where installing would start services."""

import shutil
import subprocess
import threading
from pathlib import Path

from toolbox import paths, steps

_APT = threading.Lock()
_refreshed = threading.Event()


def ensure(*packages: str) -> None:
    """Install those of `packages` that are missing; say which first.

    Raises:
        StepError: apt is not there, or failed; the message names the packages to install by hand.
    """
    with _APT:
        missing = [name for name in packages if not _installed(name)]
        if not missing:
            return
        if shutil.which("apt-get") is None:
            raise steps.StepError(f"this is not a Debian-like system: install {' '.join(missing)} by hand, then go on")
        steps.say(f"installing system packages: {' '.join(missing)}")
        _refresh()
        env = {"DEBIAN_FRONTEND": "noninteractive"}
        steps.run(["apt-get", "install", "-y", "--no-install-recommends", *missing], log="apt", env=env)


def unpacked(*packages: str) -> Path:
    """A cache folder with the content of `packages`, not installed: no service starts, nothing under /etc changes."""
    key = paths.content_key("unpacked", *packages, Path("/etc/os-release"))

    def build(target: Path) -> None:
        with _APT:
            steps.say(f"unpacking system packages into the cache (not installing them): {' '.join(packages)}")
            _refresh()
            # apt's own download user cannot read a folder below /root, hence the sandbox option
            steps.run(["apt-get", "download", "-o", "APT::Sandbox::User=root", *packages], log="apt", cwd=target)
        for deb in sorted(target.glob("*.deb")):
            steps.run(["dpkg-deb", "-x", deb, target], log="apt")
            deb.unlink()

    return paths.cached("debs", key, build)


def _installed(package: str) -> bool:
    query = ["dpkg-query", "-W", "-f=${db:Status-Status}", package]
    return subprocess.run(query, capture_output=True, text=True, check=False).stdout == "installed"


def _refresh() -> None:
    if not _refreshed.is_set():
        steps.run(["apt-get", "update"], log="apt")
        _refreshed.set()
