"""What an image is made from, as keys: an image is built again when a key changes, and only the layers below that."""

import tomllib
from pathlib import Path

from images import catalogue, rootfs
from images.catalogue import Image
from toolbox import paths, steps

_HERE = Path(__file__).parent
_IGNORED = {"__pycache__", ".mypy_cache", ".ruff_cache"}


def tree_key(root: Path, names: list[str]) -> str:
    """A key of the names and contents of the files in `names` below `root`; what is missing counts as empty."""
    parts: list[str | Path] = []
    for name in names:
        for file in _files(root / name):
            parts += [str(file.relative_to(root)), file]
    return paths.content_key(*parts)


def packages(root: Path) -> list[str]:
    """The folders of the checkout that make up the distribution, as pyproject.toml lists them."""
    project = tomllib.loads((root / "pyproject.toml").read_text())
    return [str(name) for name in project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]]


def source_key(image: Image, root: Path) -> str:
    """Changes with the code that the image's program uses; the wheel's other packages are there but asleep."""
    used = [folder for folder in packages(root) if Path(folder).name in image.packages]
    core = ["runtime/compile_core.py"] if image.core else []
    build = [_HERE / "programs.py", _HERE / "core.py"]
    return paths.content_key(tree_key(root, ["pyproject.toml", *core, *used]), *build)


def dependency_key(image: Image, root: Path) -> str:
    """Changes with the lock file, the image's extras or how dependencies are installed."""
    return paths.content_key(root / "uv.lock", *image.extras, _HERE / "programs.py")


def model_key(image: Image, root: Path) -> str:
    """Changes with the sample model if the image holds it.

    Raises:
        StepError: the image holds the sample model, and the checkout does not have it.
    """
    if not image.worker:
        return ""
    folder = root / catalogue.MODEL
    if not any(folder.glob("*.gguf")):
        raise steps.StepError(f"{folder} has no sample model (*.gguf): {image.name} is not complete without it")
    return tree_key(root, [catalogue.MODEL])


def offline_key(image: Image, root: Path) -> str:
    """The key of the image that this package builds by itself."""
    build = tree_key(_HERE, ["offline.py", "buildah.py"])
    if not image.program:
        return paths.content_key(build, _HERE / "pause.c", *catalogue.config_arguments(image))
    layers = [rootfs.key(), dependency_key(image, root), source_key(image, root), model_key(image, root)]
    return paths.content_key(build, *layers, *catalogue.config_arguments(image))


def engine_key(engine: str, image: Image, root: Path) -> str:
    """The key of the image that the container engine `engine` builds from its Containerfile."""
    inputs = tree_key(root, [image.containerfile, ".dockerignore", "uv.lock"])
    return paths.content_key(engine, image.target, inputs, source_key(image, root), model_key(image, root))


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return sorted(file for file in path.rglob("*") if file.is_file() and not _IGNORED & set(file.parts))
