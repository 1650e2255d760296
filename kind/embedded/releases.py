"""Official release downloads, checked against the checksums that are published beside them."""

import hashlib
import http.client
import platform
import tarfile
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from toolbox import steps

from embedded import recipes, versions

_PROBE_SECONDS = 4.0
_READ_SECONDS = 60.0
_ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
_GITHUB = "https://github.com"


@dataclass(frozen=True)
class Release:
    """One file of a release.

    Attributes:
        url: the file.
        checksum_url: its SHA-256: the hexadecimal digits come first in the text.
        program: what it is saved as.
        member: the program's path in the file if that is a tar archive; empty if it is the program itself.
    """

    url: str
    checksum_url: str
    program: str
    member: str = ""


def files(name: str, arch: str) -> list[Release]:
    """The release files of the recipe called `name`; none for a project that publishes no checksum files.

    That is kwok: it is always built from its module, whose content Go checks against the checksum database.
    """
    if name == "kubernetes":
        base = f"https://dl.k8s.io/release/{versions.KUBERNETES}/bin/linux/{arch}"
        programs = (*recipes.SERVERS, "kubectl")
        return [Release(f"{base}/{program}", f"{base}/{program}.sha256", program) for program in programs]
    if name == "helm":
        url = f"https://get.helm.sh/helm-{versions.HELM}-linux-{arch}.tar.gz"
        return [Release(url, f"{url}.sha256sum", "helm", f"linux-{arch}/helm")]
    if name == "coredns":
        plain = versions.COREDNS.removeprefix("v")
        base = f"{_GITHUB}/coredns/coredns/releases/download/{versions.COREDNS}/coredns_{plain}_linux_{arch}.tgz"
        return [Release(base, f"{base}.sha256", "coredns", "coredns")]
    if name == "kind":
        url = f"{_GITHUB}/kubernetes-sigs/kind/releases/download/{versions.KIND}/kind-linux-{arch}"
        return [Release(url, f"{url}.sha256sum", "kind")]
    return []


def download(name: str, target: Path) -> bool:
    """Put the programs of the release called `name` into `target`; False if it cannot be reached.

    Raises:
        StepError: a file is not what its published checksum says.
    """
    arch = _ARCHITECTURES.get(platform.machine())
    wanted = files(name, arch) if arch else []
    if not wanted:
        return False
    try:
        for release in wanted:
            _fetch(release, target)
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        steps.say(f"{name}: no release download ({error}); building it from its Go module")
        return False
    return True


def checksum(text: str) -> str:
    """The SHA-256 in the text of a checksum file (`DIGITS` or `DIGITS  FILE`).

    Raises:
        ValueError: the text does not begin with 64 hexadecimal digits.
    """
    digits = text.split(maxsplit=1)[0] if text.split() else ""
    if len(digits) != 64 or set(digits) - set("0123456789abcdef"):
        raise ValueError(f"checksum file: {text[:80]!r} does not begin with 64 hexadecimal digits")
    return digits


def _fetch(release: Release, target: Path) -> None:
    with urllib.request.urlopen(release.checksum_url, timeout=_PROBE_SECONDS) as answer:  # noqa: S310 - https above
        expected = checksum(answer.read().decode())
    file = target / f"{release.program}.download"
    actual = _save(release.url, file)
    if actual != expected:
        raise steps.StepError(f"{release.url}: its SHA-256 is {actual}, its checksum file says {expected}")
    program = target / release.program
    if release.member:
        _extract(file, release.member, program)
        file.unlink()
    else:
        file.rename(program)
    program.chmod(0o755)


def _save(url: str, file: Path) -> str:
    digest = hashlib.sha256()
    with urllib.request.urlopen(url, timeout=_READ_SECONDS) as answer, file.open("wb") as output:  # noqa: S310
        while chunk := answer.read(1 << 20):
            digest.update(chunk)
            output.write(chunk)
    return digest.hexdigest()


def _extract(archive: Path, member: str, program: Path) -> None:
    with tarfile.open(archive) as tar:
        source = tar.extractfile(member)
        if source is None:
            raise steps.StepError(f"{archive.name}: {member} is not a file")
        program.write_bytes(source.read())
