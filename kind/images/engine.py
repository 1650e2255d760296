"""Images with Docker or Podman, from the Containerfiles."""

import shutil
import subprocess
from pathlib import Path

from toolbox import paths, steps

from images import inputs
from images.catalogue import Image


def find() -> str | None:
    """`docker` or `podman`, whichever is there and answers; a Docker client without its engine does not count."""
    for name in ("docker", "podman"):
        if shutil.which(name) and subprocess.run([name, "info"], capture_output=True, check=False).returncode == 0:
            return name
    return None


def build_command(engine: str, image: Image, root: Path) -> list[str]:
    """How `engine` builds `image` from the checkout `root`."""
    target = ["--target", image.target] if image.target else []
    return [engine, "build", "-f", str(root / image.containerfile), *target, "-t", image.reference, str(root)]


def save_command(engine: str, image: Image, file: Path) -> list[str]:
    """How `engine` writes `image` to an archive that containerd imports; Docker's has been an OCI layout since 25."""
    layout = ["--format", "oci-archive"] if engine == "podman" else []
    return [engine, "save", *layout, "-o", str(file), image.reference]


def archive(engine: str, image: Image, root: Path) -> Path:
    """The archive of `image`, built by `engine` if its inputs changed."""

    def build(target: Path) -> None:
        steps.run(build_command(engine, image, root), log="images")
        steps.run(save_command(engine, image, target / "image.tar"), log="images")

    return paths.cached(f"image-{image.name}", inputs.engine_key(engine, image, root), build) / "image.tar"
