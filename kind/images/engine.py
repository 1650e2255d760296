"""Images with Docker or Podman, from the Containerfiles."""

import shutil
import subprocess
from pathlib import Path

from images import inputs
from images.catalogue import Image
from toolbox import paths, steps


def find() -> str | None:
    """`docker` or `podman`, whichever is there and answers; a Docker client without its engine does not count."""
    for name in ("docker", "podman"):
        if shutil.which(name) and subprocess.run([name, "info"], capture_output=True, check=False).returncode == 0:
            return name
    return None


def build_command(engine: str, image: Image, root: Path, key: str) -> list[str]:
    """How `engine` builds `image` from the checkout `root`."""
    target = ["--target", image.target] if image.target else []
    return [engine, "build", "-f", str(root / image.containerfile), *target, "-t", image.reference(key), str(root)]


def save_command(engine: str, image: Image, file: Path, key: str) -> list[str]:
    """How `engine` writes `image` to an archive that containerd imports; Docker's has been an OCI layout since 25."""
    layout = ["--format", "oci-archive"] if engine == "podman" else []
    return [engine, "save", *layout, "-o", str(file), image.reference(key)]


def archive(engine: str, image: Image, root: Path) -> Path:
    """The archive of `image`, built by `engine` if its inputs changed."""
    key = inputs.engine_key(engine, image, root)

    def build(target: Path) -> None:
        steps.run(build_command(engine, image, root, key), log="images")
        steps.run(save_command(engine, image, target / "image.tar", key), log="images")

    return paths.cached(f"image-{image.name}", key, build) / "image.tar"
