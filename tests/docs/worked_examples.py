"""Runs the examples of a documentation page: what a page shows is what happens, or a test fails.

Two kinds of fenced blocks count, in the order in which they stand; others are only read by people:

- any language with `title=NAME`: a file of that name is written into the example's folder;
- `console`: each line that begins with `$ ` is a command (bash, in the example's folder, with the programs of this
  environment first in PATH), the lines up to the next are what it prints, on standard output and standard error
  together. A line that is only `...` stands for any lines. Commands must succeed; where one shall fail, the block says
  `console status=N`, for its last command.
"""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^```(?P<language>\w+)(?P<attributes>[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_PATIENCE_S = 60


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    language: str
    attributes: dict[str, str]
    text: str
    line: int


@dataclass(frozen=True)
class Command:
    """A command of a console block, what it shall print and how it shall end."""

    text: str
    output: str
    status: int
    line: int


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page's text, in order."""
    return [
        Block(
            found["language"],
            dict(pair.split("=", 1) for pair in found["attributes"].split()),
            found["text"],
            page.count("\n", 0, found.start()) + 1,
        )
        for found in _FENCE.finditer(page)
    ]


def commands(block: Block) -> list[Command]:
    """The commands of a console block, in order."""
    found: list[tuple[str, int, list[str]]] = []
    for number, line in enumerate(block.text.splitlines(), start=block.line + 1):
        if line.startswith("$ "):
            found.append((line[2:], number, []))
        else:
            assert found, f"line {number}: a console block begins with a command"
            found[-1][2].append(line)
    statuses = [0] * (len(found) - 1) + [int(block.attributes.get("status", 0))]
    return [
        Command(text, "\n".join(lines), status, line)
        for (text, line, lines), status in zip(found, statuses, strict=True)
    ]


def check(page: Path, folder: Path) -> int:
    """Do what the page shows, in `folder`; the number of commands that were run.

    Raises:
        AssertionError: a command prints something else or ends otherwise; the message names the page's line.
    """
    done = 0
    for block in blocks(page.read_text(encoding="utf-8")):
        if name := block.attributes.get("title"):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(block.text, encoding="utf-8")
        elif block.language == "console":
            for command in commands(block):
                _check(command, page, folder)
                done += 1
    return done


def _check(command: Command, page: Path, folder: Path) -> None:
    # No COLUMNS or FORCE_COLOR of whoever runs the tests.
    environment = {name: value for name, value in os.environ.items() if name in {"HOME", "LANG", "LC_ALL", "TMPDIR"}}
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    done = subprocess.run(
        ["bash", "-c", command.text],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_PATIENCE_S,
        check=False,
    )
    where = f"{page.name}, line {command.line}: $ {command.text}"
    assert done.returncode == command.status, f"{where}\nends with {done.returncode}:\n{done.stdout}"
    expected, printed = _lines(command.output), _lines(done.stdout)
    assert re.fullmatch(_pattern(expected), printed), f"{where}\nprints:\n{printed}\nnot:\n{expected}"


def _lines(text: str) -> str:
    """The text with exactly one line end at its end, or nothing."""
    return text.rstrip("\n") + "\n" if text.strip("\n") else ""


def _pattern(expected: str) -> str:
    """A pattern for the expected output, in which a line `...` is any lines, also none."""
    lines = expected.splitlines()
    return "".join(r"(?:[^\n]*\n)*?" if line == "..." else re.escape(line) + r"\n" for line in lines)
