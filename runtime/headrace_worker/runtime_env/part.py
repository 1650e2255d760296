"""The part of a worker's life that makes its engine's environment (see `headrace_worker.parts.PrepareEnvironment`)."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from headrace_api import runtime_env
from headrace_worker.decision import Decision
from headrace_worker.parts import OnProgress, PreparationError
from headrace_worker.runtime_env.content import Pips, python_path
from headrace_worker.runtime_env.overlay import Overlay, OverlayError
from headrace_worker.status import Progress

_FOLDER = "packages"


@dataclass(frozen=True)
class Packages:
    """Installs what `runtime_env.pip` asks for."""

    python: str
    """The interpreter that has pip: the worker's own."""
    cache: Path

    async def __call__(
        self, decided: Decision, environment: Mapping[str, str], progress: OnProgress, /
    ) -> Mapping[str, str]:
        """See `PrepareEnvironment`."""
        runtime = decided.generator.runtime_env
        pip = runtime_env.pip(runtime.model_extra or {})
        if pip is None:
            return {}
        target = interpreter(decided.command.argv[0])
        if target is None:
            raise PreparationError(
                f"runtime_env.pip: {decided.command.argv[0]!r} is no program of a Python interpreter"
            )
        inherited = {**environment, **decided.command.env}
        pips = Pips(self.python, target)
        overlay = Overlay(pip, pips, self.cache / _FOLDER, inherited, lambda text: progress(Progress(text)))
        try:
            folder = await overlay.ready()
        except OverlayError as error:
            raise PreparationError(str(error)) from error
        return {"PYTHONPATH": python_path(folder, inherited)}


def interpreter(program: str) -> str | None:
    """The Python interpreter that runs a program: the program itself, or that of its first line; None for others."""
    if Path(program).name.startswith("python"):
        return program
    found = shutil.which(program)
    try:
        with Path(found or program).open("rb") as file:
            first = file.readline(512).decode(errors="replace").strip()
    except OSError:
        return None
    named = first.removeprefix("#!").split()[-1:] if first.startswith("#!") else []
    return named[0] if named and Path(named[0]).name.startswith("python") else None
