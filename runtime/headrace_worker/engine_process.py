"""Starts, watches and stops the engine's process; the only module of the worker that starts processes."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Self

from headrace_worker import guard
from headrace_worker.engines.protocol import EngineCommand

TAIL_LINES = 200
_LONGEST_LINE = 2000
_POLL_S = 0.02
_EXIT_POLL_S = 0.05
_LAST_LINES_S = 1.0
"""So long at most is what an ended engine wrote read on: a process that left its group may hold the pipe."""
_SLOWER = 1.05
"""So that a worker is ready at most a twentieth of its engine's start later than it could be;"""
_SLOWEST_POLL_S = 0.25
"""and so much at most. The question costs the engine half a millisecond."""


class EngineExitedError(RuntimeError):
    """The engine ended by itself."""


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def exit_text(code: int) -> str:
    """An exit status in words; `guard` reports a signal N as 128 + N."""
    if code < 0 or code > 128:
        number = -code if code < 0 else code - 128
        with contextlib.suppress(ValueError):
            return f"was killed by {signal.Signals(number).name}"
    return f"exited with status {code}"


def write_files(command: EngineCommand) -> None:
    """Write what the command wants to have written; for the worker's user only.

    Raises:
        OSError: it cannot be; also when a folder is there already, which could be somebody else's.
    """
    for folder in {Path(path).parent for path in command.files}:
        folder.mkdir(mode=0o700)
    for path, text in command.files.items():
        Path(path).write_text(text, encoding="utf-8")


def environment_of(command: EngineCommand, inherited: Mapping[str, str]) -> dict[str, str]:
    """The engine's environment: what it inherits, then the command's."""
    environment = {**inherited, **command.env}
    if command.python_path:
        environment["PYTHONPATH"] = ":".join(filter(None, (environment.get("PYTHONPATH"), command.python_path)))
    return environment


class EngineProcess:
    """A running engine, in a process group of its own (see `guard` for why there is a process in between)."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, on_line: Callable[[str], None]) -> None:
        self._process = process
        self._on_line = on_line
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._reader = asyncio.create_task(self._read_output())
        self._exit = asyncio.create_task(self._wait_exit())
        self.base_url = f"http://127.0.0.1:{port}"

    @classmethod
    async def start(
        cls, command: EngineCommand, port: int, environment: Mapping[str, str], on_line: Callable[[str], None]
    ) -> Self:
        """Start the engine; `on_line` gets every line that it writes, `environment` is added to by the command's.

        When this is cancelled, no engine is left.

        Raises:
            OSError: the guard cannot be started, or a file of the command cannot be written.
        """
        write_files(command)
        starting = asyncio.create_task(_started(command, environment))
        try:
            return cls(await asyncio.shield(starting), port, on_line)
        except asyncio.CancelledError:
            # asyncio itself would kill the guard alone, and nobody the engine.
            await cls(await starting, port, on_line).stop(0)
            raise

    @property
    def tail(self) -> list[str]:
        """The last lines that the engine wrote, oldest first."""
        return list(self._tail)

    @property
    def running(self) -> bool:
        """False once the engine has ended."""
        return not self._exit.done()

    async def wait(self) -> int:
        """The exit status, once the engine has ended and its output has been read."""
        return await asyncio.shield(self._exit)

    async def wait_healthy(self, answers: Callable[[], Awaitable[bool]]) -> None:
        """Return when the engine `answers`; there is no limit, because loading a large model takes many minutes.

        Raises:
            EngineExitedError: the engine ended before.
        """
        delay = _POLL_S
        while not await answers():
            done, _ = await asyncio.wait({self._exit}, timeout=delay)
            if done:
                raise EngineExitedError(f"the engine {exit_text(self._exit.result())} before it was ready")
            delay = min(delay * _SLOWER, _SLOWEST_POLL_S)

    async def stop(self, patience_s: float) -> int:
        """SIGTERM to the group, SIGKILL to what is left of it after `patience_s`; returns the exit status."""
        if self.running:
            self._signal(signal.SIGTERM)
            await asyncio.wait({self._exit}, timeout=patience_s)
        # Also when the engine has ended: its own children are in the group.
        self._signal(signal.SIGKILL)
        return await self.wait()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    async def _wait_exit(self) -> int:
        # Not `wait`: that returns only when the output is closed too, and a child of the engine may hold it for ever.
        while (code := self._process.returncode) is None:  # noqa: ASYNC110 (asyncio has no event for the end alone)
            await asyncio.sleep(_EXIT_POLL_S)
        self._signal(signal.SIGKILL)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_LINES_S):
                await self._process.wait()
                await self._reader
        self._reader.cancel()
        self._process._transport.close()  # type: ignore[attr-defined] # noqa: SLF001 (what else would close the pipes)
        return code

    async def _read_output(self) -> None:
        output = self._process.stdout
        if output is None:
            return
        async for line in _lines(output):
            self._tail.append(line)
            self._on_line(line)


async def _started(command: EngineCommand, environment: Mapping[str, str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", str(Path(guard.__file__))),
        *command.argv,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environment_of(command, environment),
        start_new_session=True,
    )


async def _lines(stream: asyncio.StreamReader) -> AsyncIterator[str]:
    """Lines without their ends, cut to a bearable length (progress bars write very long ones)."""
    rest = b""
    while chunk := await stream.read(65536):
        *lines, rest = (rest + chunk).replace(b"\r", b"\n").split(b"\n")
        for line in [*lines, rest] if len(rest) > _LONGEST_LINE else lines:
            if line.strip():
                yield line[:_LONGEST_LINE].decode(errors="replace")
        rest = b"" if len(rest) > _LONGEST_LINE else rest
    if rest.strip():
        yield rest.decode(errors="replace")


class ScriptError(RuntimeError):
    """A script failed, was killed, or took too long."""


def run_script(script: Path, seconds: float) -> str:
    """Run a script of the standard library alone, and return what it prints.

    Raises:
        ScriptError: it did not end well, or not in time.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", str(script)], capture_output=True, timeout=seconds, check=False, text=True
        )
    except (subprocess.TimeoutExpired, OSError) as error:
        raise ScriptError(f"{script.name}: {error}") from error
    if done.returncode:
        last = done.stderr.strip().rpartition("\n")[2]
        raise ScriptError(f"{script.name} {exit_text(done.returncode)}: {last}")
    return done.stdout
