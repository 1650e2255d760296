"""One file that is being fetched: its bytes, and the journal of those that are there (`chunks`)."""

import contextlib
import hashlib
import os
from pathlib import Path

from headrace_worker.store import chunks, digests, durable, verify
from headrace_worker.store.errors import StoreError
from headrace_worker.store.files import RemoteFile


class Chunk:
    """Where the bytes of a chunk go while they come (see `source.Sink`)."""

    def __init__(self, path: Path, start: int, digest: digests.Digest) -> None:
        self._path, self._start, self._at, self._digest = path, start, start, digest
        self._descriptor = os.open(path, os.O_WRONLY)

    def __del__(self) -> None:
        """A thread may have it longer than who was cancelled: closing it under the thread could hit another file."""
        with contextlib.suppress(AttributeError):  # it could not be opened
            self.close()

    def close(self) -> None:
        """All of it has come."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    @property
    def written(self) -> int:
        """See `Sink`."""
        return self._at - self._start

    def write(self, data: memoryview) -> None:
        """See `Sink`; the bytes are hashed while they are in the CPU's cache."""
        self._digest.update(data)
        try:
            while data:
                written = os.pwrite(self._descriptor, data, self._at)
                self._at, data = self._at + written, data[written:]
        except OSError as error:
            raise StoreError(f"{self._path}: cannot be written: {error}") from error

    def digest(self) -> str:
        """The hash of what was written, as the journal has it."""
        return self._digest.text()


class Partial:
    """A file on its way; blocking, and each chunk may be written by a thread of its own."""

    def __init__(self, file: RemoteFile, path: Path, journals: Path, chunk_bytes: int) -> None:
        self.file = file
        self.path = path
        self.check = verify.check_for(file.etag, file.size, file.checksum)
        self._part_bytes = self.check.part_sizes[0] if self.check.part_sizes else 0
        self._chunk_bytes = chunks.size_for(self._part_bytes, chunk_bytes)
        self._hash = digests.name_for(self.check, self._chunk_bytes)
        self._digests: dict[int, str] = {}
        name = hashlib.sha256(file.name.encode()).hexdigest()[:32]
        self._journal = journals / f"{name}.journal"
        self._boot = durable.boot()
        self.state = self._read()
        self._digests.update(
            {number: digest for number, digest in self.state.digests.items() if digests.usable(digest, self._hash)}
        )

    @property
    def told(self) -> str:
        """What its source says of its content, for people."""
        etag = self.check.algorithm == "parts" or not self.file.checksum
        return f"ETag {self.file.etag}" if etag else f"{self.check.algorithm} {self.check.digest.hex()}"

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
        self._journal.write_text(chunks.header(self.file, self._chunk_bytes) + chunks.line(chunks.BOOT, self._boot))
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

    def open(self, number: int) -> "Chunk":
        """A place for a chunk."""
        return Chunk(self.path, self.span(number)[0], digests.Digest(self._hash, self._part_bytes))

    def note(self, number: int, chunk: "Chunk") -> None:
        """A chunk is in the file: say so in the journal."""
        chunk.close()
        digest = chunk.digest()
        if digest:
            self._digests[number] = digest
        self._note(number, digest)

    def is_right_already(self) -> bool:
        """Whether the hashes that were made on the way say that the file is right."""
        count = chunks.count(self.file.size, self._chunk_bytes)
        if not self._hash or len(self._digests) < count:
            return False
        spans = [self.span(number) for number in range(count)]
        texts = [self._digests[number] for number in range(count)]
        return digests.joined(self.check, texts, [end - start for start, end in spans]) == self.check.digest

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
        state = chunks.read(text, self.file, self._chunk_bytes, self._boot) or chunks.State()
        if not state.sure and self.check.algorithm == "none":  # nothing would tell what is missing of it
            return chunks.State()
        if not state.sure:
            self._note(chunks.BOOT, self._boot)
        return state
