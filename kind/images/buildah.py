"""Buildah with a storage of its own in the cache, so that it shares nothing with a Podman or Buildah of the machine."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from toolbox import debian, paths, steps

_PACKAGES = ("buildah", "libassuan0", "libdevmapper1.02.1", "libgpgme11", "libseccomp2")
_POLICY = {"default": [{"type": "insecureAcceptAnything"}]}
"""Nothing is pulled: every image in this storage was made here."""


def driver_for(filesystem: str) -> str:
    """The storage driver for a file system type: overlay, but not on top of another overlay."""
    return "vfs" if filesystem.startswith("overlay") else "overlay"


@dataclass(frozen=True)
class Store:
    """Images in buildah's storage; `tag` is always `NAME:KEY`, so that a tag which exists is up to date."""

    tools: Path
    home: Path
    driver: str

    def has(self, tag: str) -> bool:
        """Whether the image is in the storage."""
        try:
            steps.capture([*self._command(), "inspect", "--type", "image", f"localhost/{tag}"], env=self._env())
        except steps.StepError:
            return False
        return True

    def layer(self, tag: str, parent: str, content: Path, config: Sequence[str] = ()) -> None:
        """Make image `tag` out of image `parent` ("" for none) and one layer with `content`, a folder or a tar file.

        A folder's files become root's; a tar file keeps its owners.
        """
        with paths.locked(self.home / f"{tag.split(':', maxsplit=1)[0]}.lock"):
            if self.has(tag):
                return
            work = f"work-{tag.replace(':', '-')}"
            self._forget(work)
            start = f"localhost/{parent}" if parent else "scratch"
            self._run("from", *self._policy(), "--pull-never", "--name", work, start)
            self._run("add", "--quiet", work, content, "/")
            self._run("config", *config, work)
            # a fixed time makes the same content the same digest, which containerd then does not unpack again
            self._run("commit", *self._policy(), "--quiet", "--timestamp", "0", work, f"localhost/{tag}")
            self._run("rm", work)

    def export(self, tag: str, reference: str, archive: Path) -> None:
        """Write image `tag` as an OCI archive in which it is called `reference`.

        Zstandard at its quickest: with gzip this was half of the time from an edit to a new image.
        """
        compression = ["--compression-format", "zstd", "--compression-level", "1"]
        destination = f"oci-archive:{archive}:{reference}"
        self._run("push", *self._policy(), "--quiet", *compression, f"localhost/{tag}", destination)

    def remove(self, tag: str) -> None:
        """Forget image `tag`; the layers of images it was made from stay."""
        self._run("rmi", f"localhost/{tag}")

    def _forget(self, work: str) -> None:
        try:
            steps.capture([*self._command(), "rm", work], env=self._env())
        except steps.StepError:
            return  # the usual case: no build was killed here

    def _policy(self) -> list[str]:
        return ["--signature-policy", str(self.home / "policy.json")]

    def _command(self) -> list[str]:
        storage = ["--root", f"{self.home}/root", "--runroot", f"{self.home}/run", "--storage-driver", self.driver]
        return [str(self.tools / "usr/bin/buildah"), *storage]

    def _env(self) -> dict[str, str]:
        libraries = [str(folder) for name in ("usr/lib", "lib") for folder in (self.tools / name).glob("*-linux-gnu*")]
        return {
            "LD_LIBRARY_PATH": ":".join(libraries),
            "TMPDIR": str(self.home / "tmp"),
            "CONTAINERS_CONF": str(self.home / "containers.conf"),
            "CONTAINERS_REGISTRIES_CONF": os.devnull,
            "CONTAINERS_STORAGE_CONF": str(self.home / "storage.conf"),
        }

    def _run(self, *words: str | Path) -> None:
        steps.run([*self._command(), *words], log="images", env=self._env())


def open_store() -> Store:
    """The storage in the cache, made if it is not there yet.

    Raises:
        StepError: not root, or buildah's packages cannot be had.
    """
    if os.geteuid() != 0:
        raise steps.StepError("building images without Docker or Podman needs root: start as root, or install either")
    home = paths.cache_dir() / "buildah"
    (home / "tmp").mkdir(parents=True, exist_ok=True)
    driver = driver_for(steps.capture(["stat", "--file-system", "--format=%T", home]).strip())
    (home / "policy.json").write_text(json.dumps(_POLICY))
    # without a folder of its own buildah puts a lock file for networks, which are not used here, under /etc/cni
    (home / "containers.conf").write_text(f'[network]\nnetwork_config_dir = "{home}/networks"\n')
    (home / "storage.conf").write_text(
        f'[storage]\ndriver = "{driver}"\nrunroot = "{home}/run"\ngraphroot = "{home}/root"\n'
    )
    return Store(debian.unpacked(*_PACKAGES), home, driver)
