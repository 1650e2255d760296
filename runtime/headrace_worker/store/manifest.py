"""What is known of a snapshot that was fetched: its files as they were at their source, and from which source."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace_worker.store.files import RemoteFile


@dataclass(frozen=True)
class Manifest:
    """The content of a snapshot."""

    source: str
    files: tuple[RemoteFile, ...]

    def has(self, file: RemoteFile) -> bool:
        """Whether this file is in it with the same content."""
        return any(_known(one) == _known(file) for one in self.files)

    def same(self, files: Iterable[RemoteFile]) -> bool:
        """Whether these files, and no others, are in it with the same content."""
        return sorted(map(_known, self.files)) == sorted(map(_known, files))


def _known(file: RemoteFile) -> tuple[str, int, str]:
    return file.name, file.size, file.etag


def write(path: Path, manifest: Manifest) -> None:
    """Replace the file, in one step."""
    files = [{"name": file.name, "size": file.size, "etag": file.etag} for file in manifest.files]
    replace(path, json.dumps({"source": manifest.source, "files": files}))


def replace(path: Path, text: str) -> None:
    """Write a file anew in one step: nobody sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    new.replace(path)


def read(path: Path) -> Manifest | None:
    """The manifest; None when there is none that can be read."""
    try:
        content: Any = json.loads(path.read_text())
        files = tuple(RemoteFile(str(one["name"]), int(one["size"]), str(one["etag"])) for one in content["files"])
        return Manifest(str(content["source"]), files)
    except (OSError, ValueError, KeyError, TypeError):
        return None
