"""The `uv` program: several times faster than pip, and the one that reads uv.lock."""

import shutil
import sys
from pathlib import Path

from toolbox import debian, paths, steps

VERSION = "0.13.8"


def uv() -> Path:
    """The `uv` on PATH, else one that pip installs into the cache.

    Raises:
        StepError: neither is there and it cannot be installed.
    """
    if found := shutil.which("uv"):
        return Path(found)

    def install(target: Path) -> None:
        debian.ensure("python3-venv")
        steps.run([sys.executable, "-m", "venv", target], log="uv")
        # by module: the console scripts of a venv that will be renamed point to its old place
        steps.run([target / "bin" / "python", "-m", "pip", "install", "--quiet", f"uv=={VERSION}"], log="uv")

    return paths.cached("uv", paths.content_key(VERSION, sys.version), install) / "bin" / "uv"
