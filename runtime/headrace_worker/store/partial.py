"""One file that is being fetched: its bytes, and the journal of those that are there (`chunks`)."""

import hashlib
import os
from pathlib import Path

from headrace_worker.store import chunks, verify
from headrace_worker.store.files import RemoteFile


class Partial:
    """A file on its way; blocking, and each chunk may be written by a thread of its own."""

    def __init__(self, file: RemoteFile, path: Path, journals: Path, chunk_bytes: int) -> None:
        self.file = file
        self.path = path
        self.check = verify.check_for(file.etag, file.size)
        part = self.check.part_sizes[0] if self.check.part_sizes else None
        self._chunk_bytes = chunks.size_for(part, chunk_bytes)
        self._hashes = part == self._chunk_bytes
        self._digests: dict[int, str] = {}
        name = hashlib.sha256(file.name.encode()).hexdigest()[:32]
        self._journal = journals / f"{name}.journal"
        self.state = self._read()
        self._digests.update(self.state.digests)

    @property
    def done_bytes(self) -> int:
        """How many bytes are there."""
        if self.state.verified:
            return self.file.size
        return chunks.done_bytes(self.file.size, self._chunk_bytes, self.state.done)

    def prepare(self) -> None:
        """Make a place for what is missing; throw away what is of another object."""
        if not self.state.done and not self.state.verified:
            self.start_anew()

    def start_anew(self) -> None:
        """Forget what is there."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._journal.parent.mkdir(parents=True, exist_ok=True)
        self._journal.unlink(missing_ok=True)  # first, so that a kill leaves no journal of bytes that are gone
        self.path.unlink(missing_ok=True)  # not emptied: it may be a link to the file of a snapshot
        with self.path.open("wb") as data:
            data.truncate(self.file.size)
        self._journal.write_text(chunks.header(self.file, self._chunk_bytes))
        self.state = chunks.State()
        self._digests.clear()

    def take(self, path: Path) -> None:
        """Use a file that is known to be right, without copying it."""
        self.start_anew()
        self.path.unlink()
        self.path.hardlink_to(path.resolve())
        self.mark_verified()

    def missing(self) -> list[int]:
        """The chunks still to be fetched."""
        return chunks.missing(self.file.size, self._chunk_bytes, self.state)

    def span(self, number: int) -> tuple[int, int]:
        """Where a chunk begins and ends."""
        return chunks.span(number, self.file.size, self._chunk_bytes)

    def write(self, number: int, data: memoryview) -> None:
        """Put a chunk into the file, and then into the journal."""
        start, _ = self.span(number)
        digest = hashlib.md5(data, usedforsecurity=False).hexdigest() if self._hashes else ""
        descriptor = os.open(self.path, os.O_WRONLY)
        try:
            while data:
                written = os.pwrite(descriptor, data, start)
                start, data = start + written, data[written:]
        finally:
            os.close(descriptor)
        if digest:
            self._digests[number] = digest
        self._note(number, digest)

    def is_right_already(self) -> bool:
        """Whether the hashes that were made on the way say that the file is right."""
        count = chunks.count(self.file.size, self._chunk_bytes)
        if not self._hashes or len(self._digests) < count:
            return False
        joined = b"".join(bytes.fromhex(self._digests[number]) for number in range(count))
        return hashlib.md5(joined, usedforsecurity=False).digest() == self.check.digest

    def mark_verified(self) -> None:
        """Note that the file is right."""
        self._note(chunks.VERIFIED)
        self.state = chunks.State(verified=True)

    def _note(self, what: int | str, digest: str = "") -> None:
        with self._journal.open("ab", buffering=0) as journal:
            journal.write(chunks.line(what, digest).encode())

    def _read(self) -> chunks.State:
        try:
            text = self._journal.read_text()
            there = self.path.stat().st_size == self.file.size
        except (OSError, UnicodeDecodeError):
            return chunks.State()
        if not there:
            return chunks.State()
        if not text.endswith("\n"):  # or the next line would be read as the end of this one
            os.truncate(self._journal, text.rfind("\n") + 1)
        return chunks.read(text, self.file, self._chunk_bytes) or chunks.State()
