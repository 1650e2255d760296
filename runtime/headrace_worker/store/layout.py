"""Where things are in the cache, which has the layout of Hugging Face's, so that its tools understand it. Pure.

<cache>/models--<org>--<name>/snapshots/<HASH>/...   complete files, from the moment that the folder is there
<cache>/models--<org>--<name>/refs/main              the HASH; of another revision, the file has its name
<cache>/.headrace/<models--org--name>/               what is not complete, locks, and what is known of snapshots

Files that go to a folder of their own have the last of these in there, for it may be of one pod while the cache is not.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from headrace_worker.store.errors import StoreError
from headrace_worker.store.files import RemoteFile

NO_HASH = "0" * 40
"""The snapshot of a mirror that has no `hash` file."""
_HASH = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


MAIN = "main"
"""The revision that is meant where none is named; of a mirror, the only one."""


def folder_name(model: str) -> str:
    """`org/name` as Hugging Face's cache writes it."""
    return "--".join(("models", *(part for part in model.strip("/").split("/") if part)))


def snapshot_hash(text: str | None, where: str) -> str:
    """The snapshot's name from the content of a `hash` file; forty zeros without one.

    Raises:
        StoreError: the content cannot name a folder.
    """
    if text is None or not text.strip():
        return NO_HASH
    if not _HASH.fullmatch(text.strip()):
        raise StoreError(f"{where}: the content of the file 'hash', {text[:80]!r}, cannot name a folder")
    return text.strip()


def content_hash(files: Iterable[RemoteFile]) -> str:
    """40 hex digits that name a set of files by what is in them."""
    lines = (f"{file.name}\0{file.size}\0{file.etag}\n" for file in sorted(files, key=lambda file: file.name))
    return hashlib.sha1("".join(lines).encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class Places:
    """The paths of one model."""

    cache: Path
    folder: str
    destination: Path | None = None
    """A folder outside the cache that the files go to."""

    @property
    def model(self) -> Path:
        """Hugging Face's folder."""
        return self.cache / self.folder

    @property
    def own(self) -> Path:
        """Our folder."""
        return (self.destination or self.cache) / ".headrace" / self.folder

    @property
    def lock(self) -> Path:
        """Held by the worker that fetches."""
        return self.own / "fetch.lock"

    @property
    def owner_progress(self) -> Path:
        """How far the worker that fetches is."""
        return self.own / "progress.json"

    @property
    def partial(self) -> Path:
        """What was fetched of a snapshot that is not complete."""
        return self.own / "partial"

    @property
    def record(self) -> Path:
        """What is in the destination."""
        return self.own / "manifest.json"

    @property
    def refs(self) -> Path:
        """The folder of files with the hash of a revision's newest snapshot."""
        return self.model / "refs"

    def snapshot(self, name: str) -> Path:
        """A snapshot's folder."""
        return self.model / "snapshots" / name

    def manifest(self, name: str) -> Path:
        """What is in a snapshot that we fetched."""
        return self.own / f"{name}.json"

    def kept(self, name: str) -> Path:
        """Says that a snapshot is on the disk and not only in the kernel's memory (`durable`)."""
        return self.own / f"{name}.kept"

    def use(self, name: str) -> Path:
        """Locked, shared, by every worker that serves from a snapshot; its time is when it was used last."""
        return self.own / f"{name}.use"
