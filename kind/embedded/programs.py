"""Finds, and on the first run gets, every program that the embedded cluster runs."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import images
from toolbox import debian, paths, steps

from embedded import golang, recipes, releases

Task = Callable[[], Path]
_TOOLS = ("iptables", "conntrack", "iproute2", "util-linux", "ethtool", "openssl")


@dataclass(frozen=True)
class Programs:
    """Folders and files of the programs; see the functions of this module for how they get there."""

    kubernetes: Path
    helm: Path
    coredns: Path
    etcd: Path
    containerd: Path
    pause_archive: Path

    @property
    def kubectl(self) -> Path:
        """The kubectl of the cluster's own version."""
        return self.kubernetes / "kubectl"


def gather() -> Programs:
    """Return the programs; what is missing is downloaded, built or unpacked side by side."""
    tasks: dict[str, Task] = {
        "Kubernetes": lambda: fetch(recipes.KUBERNETES),
        "helm": lambda: fetch(recipes.HELM) / "helm",
        "CoreDNS": lambda: fetch(recipes.COREDNS) / "coredns",
        "etcd": lambda: debian.unpacked("etcd-server") / "usr/bin/etcd",
        "containerd": lambda: debian.unpacked("containerd", "runc", "containernetworking-plugins"),
        "system packages": _system_packages,
        "pause image": _pause_archive,
    }
    wanted = (recipes.KUBERNETES, recipes.HELM, recipes.COREDNS)
    if all(golang.folder(recipe).exists() for recipe in wanted):
        found = {name: task() for name, task in tasks.items()}
    else:
        steps.say(
            "getting the cluster's programs, once: where releases cannot be downloaded this takes 10 to 15 minutes"
        )
        found = steps.side_by_side(tasks)
    return Programs(
        kubernetes=found["Kubernetes"],
        helm=found["helm"],
        coredns=found["CoreDNS"],
        etcd=found["etcd"],
        containerd=found["containerd"],
        pause_archive=found["pause image"],
    )


def installed_kubectl() -> Path | None:
    """The cluster's kubectl if it is in the cache; nothing is fetched."""
    kubectl = golang.folder(recipes.KUBERNETES) / "kubectl"
    return kubectl if kubectl.exists() else None


def fetch(recipe: golang.Recipe) -> Path:
    """Return the cache folder with the recipe's programs: its official release where reachable, else built."""

    def make(target: Path) -> None:
        if not releases.download(recipe.name, target):
            golang.build(recipe, target)

    return paths.cached(recipe.name, golang.key(recipe), make)


def _system_packages() -> Path:
    debian.ensure(*_TOOLS)
    return Path("/usr")


def _pause_archive() -> Path:
    return images.ensure(["pause"])["pause"]
