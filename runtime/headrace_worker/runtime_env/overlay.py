"""Makes the folder of packages: once, by one worker at a time, and visible only when it is whole."""

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from headrace_api.runtime_env import Pip
from headrace_worker.engine_process import EngineProcess, exit_text
from headrace_worker.engines.protocol import EngineCommand
from headrace_worker.runtime_env import content
from headrace_worker.runtime_env.content import Pips

_LAST_LINES = 12
_LOCK_S = 0.2

log = structlog.get_logger()


class OverlayError(RuntimeError):
    """The packages cannot be installed; the message has pip's last lines."""


@dataclass(frozen=True)
class Overlay:
    """The packages of one engine."""

    pip: Pip
    pips: Pips
    cache: Path
    """The folder in which such folders are kept."""
    environment: Mapping[str, str]
    """The engine's: pip's own settings are among them."""
    tell: Callable[[str], None]
    """Told what is being done, for people."""

    async def ready(self) -> Path:
        """The folder, made if it is not there. When cancelled, what was begun is not left where anybody would find it.

        Raises:
            OverlayError: pip cannot install the packages, or there is no room or right to keep them.
        """
        try:
            return await self._ready()
        except OSError as error:
            raise OverlayError(
                f"runtime_env.pip: cannot keep packages in {str(self.cache)!r}: {error}; accepted: a HEADRACE_CACHE "
                f"with room in which the worker's user ({os.getuid()}) may write, or one in which they are already"
            ) from error

    async def _ready(self) -> Path:
        interpreter = await self._run("ask the engine's interpreter what it is", self.pips.probe())
        folder = self.cache / content.key(self.pip, interpreter[-1] if interpreter else "")
        if folder.is_dir():
            return folder
        self.cache.mkdir(parents=True, exist_ok=True)
        async with _locked(folder.with_suffix(".lock")):
            if not folder.is_dir():
                await self._make(folder)
        return folder

    async def _make(self, folder: Path) -> None:
        partial = folder.with_suffix(".partial")
        _remove(partial)  # of a worker that was killed: it had the lock that is ours now
        partial.mkdir()
        try:
            await self._fill(partial)
            partial.rename(folder)
        finally:
            _remove(partial)

    async def _fill(self, partial: Path) -> None:
        packages = " ".join(self.pip.packages)
        self.tell(f"installing {packages}")
        report = partial / "headrace-report.json"
        await self._run(f"find {packages}", self.pips.dry_run(self.pip, report))
        decided = content.decided(json.loads(report.read_bytes()))
        report.unlink()
        log.info("installing packages for the engine", packages=decided, folder=str(partial))
        if decided:
            await self._run(f"install {' '.join(decided)}", self.pips.install(self.pip, decided, partial))
        if self.pip.check:
            await self._run("check that all packages go together", self.pips.check(), partial)

    async def _run(self, what: str, command: list[str], path: Path | None = None) -> list[str]:
        """Run a command to its end; returns its last lines."""
        more = {"PIP_CACHE_DIR": str(self.cache / "pip"), "PIP_ROOT_USER_ACTION": "ignore"}
        environment = {**more, **self.environment}
        if path:
            environment["PYTHONPATH"] = content.python_path(path, environment)
        started = await EngineProcess.start(EngineCommand(command), 0, environment, log.debug)
        try:
            code = await started.wait()
        except asyncio.CancelledError:
            await started.stop(0)
            raise
        if code:
            lines = started.tail[-_LAST_LINES:]
            told = "\n".join(lines) + content.hint(lines)
            raise OverlayError(f"runtime_env.pip: cannot {what}: pip {exit_text(code)}:\n{told}")
        return started.tail


@contextlib.asynccontextmanager
async def _locked(path: Path) -> AsyncIterator[None]:
    """Hold a lock that is free again when this process has ended, however it has; other users' files can be locked."""
    file = os.open(path, os.O_RDONLY | os.O_CREAT, 0o644)
    try:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(_LOCK_S)
        yield
    finally:
        os.close(file)


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
