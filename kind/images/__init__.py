"""The images of Headrace as OCI archives: from the Containerfiles where an engine runs, else built without one."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from images import catalogue, engine, housekeeping, inputs, offline
from images.catalogue import Image
from toolbox import paths, steps


def ensure(names: Sequence[str], root: Path = paths.ROOT) -> dict[str, Path]:
    """The archive of each named image, in the cache; built from the checkout `root` where its inputs changed.

    Args:
        names: short names, such as "operator"; `catalogue.IMAGES` has them all.
        root: a checkout of headrace.

    Raises:
        StepError: a name is not known, or a build failed.
    """
    chosen = catalogue.choose(names)
    builder = engine.find()
    tasks = {image.name: partial(_archive, builder, image, root) for image in chosen}
    archives = steps.side_by_side(tasks)
    for name, file in archives.items():
        housekeeping.prune(f"image-{name}", file.parent)
    housekeeping.prune("sources")
    return archives


def tag(name: str, root: Path = paths.ROOT) -> str:
    """The tag of the named image as `ensure` makes it from the checkout `root`."""
    (image,) = catalogue.choose([name])
    builder = engine.find()
    if builder and image.containerfile:
        return inputs.engine_key(builder, image, root)
    return inputs.offline_key(image, root)


def _archive(builder: str | None, image: Image, root: Path) -> Path:
    if builder and image.containerfile:
        return engine.archive(builder, image, root)
    return offline.archive(image, root)
