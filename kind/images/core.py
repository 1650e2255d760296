"""What of queue and worker is compiled (runtime/compile_core.py): for images, and for tests of the compiled code."""

import sys
from pathlib import Path

from images import inputs
from toolbox import debian, paths, steps
from toolbox.uv import uv

_SCRIPT = "runtime/compile_core.py"
PROGRAMS = ("queue", "worker")


def ensure(program: str, root: Path, python: Path | None = None) -> Path:
    """A folder with the extension modules of `program`, to lay over the folder that its packages are in.

    Args:
        program: `queue` or `worker`.
        root: the checkout.
        python: they are for this Python, and those that are compatible with it; None for the one that runs this.

    Raises:
        StepError: they do not compile.
    """
    python = python or Path(sys.executable)
    abi, include = _facts(python)
    names = [_SCRIPT, "runtime/headrace_api", f"runtime/headrace_{program}"]
    key = paths.content_key(abi, root / "uv.lock", inputs.tree_key(root, names), Path(__file__))

    def build(target: Path) -> None:
        headers = () if (include / "Python.h").exists() else ("python3-dev",)
        debian.ensure("gcc", "libc6-dev", *headers)
        compiler = _compiler(program, root, python, abi)
        steps.run([compiler / "bin/python", root / _SCRIPT, program, target], log="images")

    return paths.cached(f"core-{program}", key, build)


def _compiler(program: str, root: Path, python: Path, abi: str) -> Path:
    """An environment with the compiler, and with the libraries of `program`, whose types it reads."""

    def build(target: Path) -> None:
        options = ["--frozen", "--no-default-groups", "--no-install-project", "--group", "compile", "--extra", program]
        env = {"UV_PROJECT_ENVIRONMENT": str(target), "UV_PYTHON": str(python)}
        steps.run([uv(), "sync", *options], log="images", cwd=root, env=env)

    return paths.cached("compiler", paths.content_key(abi, program, root / "uv.lock", Path(__file__)), build)


def _facts(python: Path) -> tuple[str, Path]:
    """What extension modules of this Python are called by, and where its headers would be."""
    code = "import sysconfig as s; print(s.get_config_var('SOABI'), s.get_path('include'))"
    abi, _, include = steps.capture([python, "-c", code]).strip().partition(" ")
    return abi, Path(include)
