"""The files that a command is given: paths, directories and standard input."""

import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from headrace_cli.errors import Trouble

_OURS = re.compile(r"headrace\.dev/|^engine_config:|^[-\s]*model_loading_config:|^[-\s]*llm_configs:", re.MULTILINE)
"""What is in every file that a walk through a directory looks at: manifests of Headrace, and files for Ray."""


@dataclass(frozen=True)
class Source:
    """A text and the name by which messages call it."""

    file: str
    text: str


def sources(paths: Sequence[Path]) -> Iterator[Source]:
    """The text of every path; of a directory, its `*.yaml` and `*.yml` files that have to do with models.

    Raises:
        Trouble: a file cannot be read.
    """
    for path in paths:
        if path.is_dir():
            yield from (found for file in _walk(path) if _OURS.search((found := read(file)).text))
        else:
            yield read(path)


def read(path: Path) -> Source:
    """The text of one file, or of standard input for `-`.

    Raises:
        Trouble: it cannot be read.
    """
    name = "<stdin>" if str(path) == "-" else str(path)
    try:
        data = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
        return Source(name, data.decode("utf-8-sig"))
    except OSError as error:
        raise Trouble(f"{name}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Trouble(f"{name}:{line}: not UTF-8; accepted: text in UTF-8") from None


def _walk(folder: Path) -> Iterator[Path]:
    for directory, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(directory, name) for name in sorted(files) if name.endswith((".yaml", ".yml")))
