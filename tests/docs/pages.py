"""Runs a page of the documentation: its files, its commands, and the output that it shows.

A fence `toml title=NAME` (or any other language) is a file. A fence `console` holds commands after `$ `, which go on
after `> `, and what each of them prints on standard output and standard error. A fence `console background` holds a
command that goes on running while the rest of the page is run.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^```(\w+)(?: ([^\n]+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PATIENCE_S = 90


@dataclass(frozen=True)
class Block:
    """A fence with something to do."""

    kind: str
    """`file`, `console` or `background`."""
    text: str
    name: str = ""


@dataclass(frozen=True)
class Step:
    """A command and what it prints."""

    command: str
    output: str


def blocks(page: str) -> Iterator[Block]:
    """The files and commands of a page, in its order; other fences are for reading only."""
    for language, attribute, text in _FENCE.findall(page):
        if attribute.startswith("title="):
            yield Block("file", text, attribute.removeprefix("title="))
        elif language == "console":
            yield Block(attribute or "console", text)


def steps(console: str) -> list[Step]:
    """The commands of a console fence."""
    found: list[tuple[list[str], list[str]]] = []
    for line in console.splitlines():
        if line.startswith("$ "):
            found.append(([line[2:]], []))
        elif line.startswith("> ") and not found[-1][1]:
            found[-1][0].append(line[2:])
        else:
            found[-1][1].append(line)
    return [Step("\n".join(command), "".join(f"{line}\n" for line in output)) for command, output in found]


def run(page: str, folder: Path, replaced: Mapping[str, str]) -> int:
    """Do what a page says in `folder`, with some words of it replaced; returns the number of outputs compared."""
    for before, after in replaced.items():
        page = page.replace(before, after)
    compared = 0
    with contextlib.ExitStack() as running:
        for block in blocks(page):
            if block.kind == "file":
                (folder / block.name).write_text(block.text)
                continue
            for step in steps(block.text):
                if block.kind == "background":
                    running.enter_context(_background(step.command, folder))
                    continue
                done = _start(step.command, folder, subprocess.PIPE)
                output, _ = done.communicate(timeout=_PATIENCE_S)
                assert output.decode() == step.output, step.command
                compared += 1
    return compared


def _start(command: str, folder: Path, stdout: int) -> "subprocess.Popen[bytes]":
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.Popen(
        ["bash", "-c", command],
        cwd=folder,
        stdout=stdout,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PATH": path, "HEADRACE_QUEUE_DATA_FOLDER": str(folder)},
        start_new_session=True,
    )


@contextlib.contextmanager
def _background(command: str, folder: Path) -> Iterator[None]:
    process = _start(command, folder, subprocess.DEVNULL)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(15)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
