"""The root file system under the images: Debian bookworm with Python, from debootstrap, as a tar file."""

import shutil
from pathlib import Path

from images.catalogue import USER_ID
from toolbox import debian, paths, steps

SUITE = "bookworm"
PACKAGES = ("ca-certificates", "libgomp1", "libnuma1", "python3")
"""libgomp1 and libnuma1 are what prebuilt CPU engines link against and do not bring along."""

_EMPTIED = ("dev", "run", "tmp", "var/cache/apt", "var/cache/debconf", "var/lib/apt/lists", "var/log")
_REMOVED = ("usr/share/info", "usr/share/lintian", "usr/share/locale", "usr/share/man")


def key() -> str:
    """Changes with the packages or with this file."""
    return paths.content_key(SUITE, *PACKAGES, Path(__file__))


def ensure() -> Path:
    """The tar file of the root file system, in the cache; about a minute the first time.

    Raises:
        StepError: debootstrap failed, most often because the Debian mirror cannot be reached.
    """
    return paths.cached("rootfs", key(), _build) / "rootfs.tar"


def mirror_arguments(targets: str) -> list[str]:
    """The first mirror in apt's list of index targets, one URI a line; nothing lets debootstrap take its default."""
    return [line for line in map(str.strip, targets.splitlines()) if line][:1]


def _build(target: Path) -> None:
    tools = debian.unpacked("debootstrap", "debian-archive-keyring")
    root = target / "rootfs"
    query = ["apt-get", "indextargets", "--format", "$(REPO_URI)", f"Codename: {SUITE}", "Component: main"]
    options = ["--variant=minbase", f"--include={','.join(PACKAGES)}"]
    options.append(f"--keyring={tools}/usr/share/keyrings/debian-archive-keyring.gpg")
    # in a mount namespace of its own, so that a killed debootstrap leaves no /proc mounted in the cache
    alone = ["unshare", "--mount", "--propagation", "private"]
    command: list[str | Path] = [*alone, tools / "usr/sbin/debootstrap", *options, SUITE, root]
    command += mirror_arguments(steps.capture(query))
    steps.run(command, log="images", env={"DEBOOTSTRAP_DIR": f"{tools}/usr/share/debootstrap"})
    _strip(root)
    _add_user(root)
    # byte code that looks at times, as Debian's does, would be stale in a layer with a fixed time
    compiling = ["python3", "-m", "compileall", "-q", "-f", "--invalidation-mode", "unchecked-hash"]
    steps.run(["chroot", root, *compiling, "/usr/lib/python3.11"], log="images")
    steps.run(["tar", "-C", root, "--numeric-owner", "--sort=name", "-cf", target / "rootfs.tar", "."], log="images")
    shutil.rmtree(root)


def _strip(root: Path) -> None:
    for name in _REMOVED:
        shutil.rmtree(root / name, ignore_errors=True)
    for name in _EMPTIED:
        for entry in (root / name).iterdir():
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    for file in (root / "usr/share/doc").rglob("*"):
        if not file.is_dir() and file.name != "copyright":  # licences have to stay
            file.unlink()
    for name in ("etc/resolv.conf", "etc/hostname"):  # debootstrap copied the building machine's
        (root / name).write_text("")


def _add_user(root: Path) -> None:
    home = root / "var/lib/headrace"
    home.mkdir(mode=0o750)
    shutil.chown(home, USER_ID, USER_ID)
    with (root / "etc/passwd").open("a") as passwd:
        passwd.write(f"headrace:x:{USER_ID}:{USER_ID}::/var/lib/headrace:/usr/sbin/nologin\n")
    with (root / "etc/group").open("a") as group:
        group.write(f"headrace:x:{USER_ID}:\n")
