"""The Python side of an image: a virtual environment of locked dependencies, and headrace itself as a layer over it.

Both are made with Debian's Python at the path that the image has too, and are relocatable, so that they run from
/opt/headrace/venv although they were made in the cache.
"""

import shutil
from pathlib import Path

from images import catalogue, core, inputs
from images.catalogue import Image
from toolbox import debian, paths, steps
from toolbox.uv import uv

PYTHON = Path("/usr/bin/python3.11")
_VENV = Path(catalogue.HOME.lstrip("/")) / "venv"
_SITE_PACKAGES = Path("lib/python3.11/site-packages")
_BYTECODE = {"PYC_INVALIDATION_MODE": "UNCHECKED_HASH"}
"""Layers do not keep fractions of a second, so that byte code which looks at times would count as stale."""


def dependencies(image: Image, root: Path) -> Path:
    """A folder to lay over the root file system: the venv with what `image` needs from uv.lock, without headrace."""

    def build(target: Path) -> None:
        venv = target / _VENV
        _make_venv(venv)
        options = ["--frozen", "--no-dev", "--no-editable", "--no-install-project", "--compile-bytecode"]
        command: list[str | Path] = [uv(), "sync", *options]
        for extra in image.extras:
            command += ["--extra", extra]
        env = {"UV_PROJECT_ENVIRONMENT": str(venv), "UV_PYTHON": str(PYTHON), **_BYTECODE}
        steps.run(command, log="images", cwd=root, env=env)
        (venv / ".lock").unlink(missing_ok=True)

    return paths.cached("dependencies", inputs.dependency_key(image, root), build)


def sources(image: Image, root: Path) -> Path:
    """A folder to lay over the dependencies: headrace with what is compiled of it, and a worker's sample model."""
    key = paths.content_key(inputs.source_key(image, root), inputs.model_key(image, root))

    def build(target: Path) -> None:
        wheels, fresh, venv = target / "wheels", target / "fresh", target / _VENV
        steps.run([uv(), "build", "--quiet", "--wheel", "--out-dir", wheels, root], log="images")
        _make_venv(fresh)
        install: list[str | Path] = [uv(), "pip", "install", "--quiet", "--no-deps", "--no-index", "--compile-bytecode"]
        install += ["--link-mode", "copy", "--python", fresh / "bin/python", *wheels.glob("*.whl")]
        steps.run(install, log="images", env=_BYTECODE)
        _take(fresh, venv)
        if image.core:
            shutil.copytree(core.ensure(image.core, root, PYTHON), venv / _SITE_PACKAGES, dirs_exist_ok=True)
        shutil.rmtree(wheels)
        shutil.rmtree(fresh)
        if image.worker:
            shutil.copytree(root / catalogue.MODEL, target / "opt/headrace/models/sample-chat")
        # a checkout made with a strict umask must not make an image that its user cannot read
        steps.run(["chmod", "-R", "u=rwX,go=rX", target], log="images")

    return paths.cached("sources", key, build)


def _make_venv(venv: Path) -> None:
    if not PYTHON.exists():
        debian.ensure("python3.11")
    steps.run([uv(), "venv", "--quiet", "--relocatable", "--python", PYTHON, venv], log="images")


def _take(fresh: Path, venv: Path) -> None:
    """Move what installing headrace added to `fresh` into `venv`; not what says where and when it was built."""
    site = venv / _SITE_PACKAGES
    site.mkdir(parents=True)
    for package in (fresh / _SITE_PACKAGES).glob("headrace*"):
        package.rename(site / package.name)
    for record in ("direct_url.json", "uv_build.json", "uv_cache.json"):
        for file in site.glob(f"*.dist-info/{record}"):
            file.unlink()
    (venv / "bin").mkdir()
    for script in (fresh / "bin").glob("headrace*"):
        script.rename(venv / "bin" / script.name)
