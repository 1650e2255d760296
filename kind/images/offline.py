"""Images without a container engine: the root file system, the dependencies and headrace, each a layer of buildah's."""

from pathlib import Path

from images import buildah, catalogue, inputs, programs, rootfs
from images.catalogue import Image
from toolbox import debian, paths, steps

_HERE = Path(__file__).parent


def archive(image: Image, root: Path) -> Path:
    """The OCI archive of `image`, built from the checkout `root` if its inputs changed.

    Raises:
        StepError: the image needs a vendor's base image, or a step of the build failed.
    """
    if image.vendor:
        raise steps.StepError(
            f"image {image.name} stands on a vendor's base image from a registry: it needs Docker or Podman"
        )
    key = inputs.offline_key(image, root)

    def build(target: Path) -> None:
        store = buildah.open_store()
        tag = f"{image.name}:{key}"
        config = catalogue.config_arguments(image)
        if image.program:
            parent = _dependencies(store, image, root)
            store.layer(tag, parent, programs.sources(image, root), config)
        else:
            store.layer(tag, "", _pause(), config)
        store.export(tag, image.reference(key), target / "image.tar")
        store.remove(tag)

    return paths.cached(f"image-{image.name}", key, build) / "image.tar"


def _dependencies(store: buildah.Store, image: Image, root: Path) -> str:
    base = f"rootfs:{rootfs.key()}"
    tag = f"{image.name}-dependencies:{paths.content_key(base, inputs.dependency_key(image, root))}"
    if not store.has(tag):
        # before the root file system, so that the first image to get here makes that beside the others' dependencies
        content = programs.dependencies(image, root)
        if not store.has(base):
            store.layer(base, "", rootfs.ensure())
        store.layer(tag, base, content)
    return tag


def _pause() -> Path:
    def build(target: Path) -> None:
        debian.ensure("gcc", "libc6-dev")
        flags = ["-static", "-Os", "-s", "-Wall", "-Werror"]
        steps.run(["gcc", *flags, "-o", target / "pause", _HERE / "pause.c"], log="images")

    return paths.cached("pause", paths.content_key(_HERE / "pause.c"), build)
