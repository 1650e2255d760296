"""What is known of a snapshot that was fetched: its files as they were at their source, and from which source."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace_worker.store.files import RemoteFile

_FIELDS = ("name", "size", "etag", "checksum")


@dataclass(frozen=True)
class Manifest:
    """The content of a snapshot."""

    source: str
    files: tuple[RemoteFile, ...]
    boot: str = ""
    """The start of the machine in which it was written (`durable.boot`)."""

    def has(self, file: RemoteFile) -> bool:
        """Whether this file is in it with the same content."""
        return any(_known(one) == _known(file) for one in self.files)


def _file(entry: dict[str, Any]) -> RemoteFile:
    name, etag, checksum = str(entry["name"]), str(entry["etag"]), str(entry.get("checksum", ""))
    return RemoteFile(name, int(entry["size"]), etag, checksum=checksum)


def _known(file: RemoteFile) -> tuple[str, int, str]:
    return file.name, file.size, file.etag


def write(path: Path, manifest: Manifest) -> None:
    """Replace the file, in one step."""
    files = [{field: getattr(file, field) for field in _FIELDS} for file in manifest.files]
    replace(path, json.dumps({"source": manifest.source, "boot": manifest.boot, "files": files}))


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
        files = tuple(_file(one) for one in content["files"])
        return Manifest(str(content["source"]), files, str(content.get("boot", "")))
    except (OSError, ValueError, KeyError, TypeError):
        return None
