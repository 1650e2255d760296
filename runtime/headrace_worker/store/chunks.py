"""Which ranges of a file are still to be fetched, and the journal that remembers it through a kill. Pure.

The journal of a file is text: a first line says of which object it is, each further line names a chunk whose bytes are
in the file. A line is written after its bytes, so a kill loses a chunk at most; a line that was cut off counts for
nothing. A line `boot` says in which start of the machine those after it were written: of what was written in an earlier
one, bytes may be missing on the disk, so the hashes that were made of them in memory count for nothing.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from headrace_worker.store.files import RemoteFile

_LARGEST = 8
"""Times the usual size that a chunk may have."""
VERIFIED = "verified"
"""The line after which the whole file is known to be right."""


@dataclass(frozen=True)
class State:
    """How much of a file is there."""

    done: frozenset[int] = frozenset()
    """Numbers of chunks."""
    digests: Mapping[int, str] = field(default_factory=dict)
    """Of those, the hash, where it was made on the way (`digests`)."""
    verified: bool = False
    sure: bool = True
    """Whether all of it was written in this start of the machine."""


BOOT = "boot"


def header(file: RemoteFile, chunk_bytes: int) -> str:
    """The first line: whatever differs between two objects, or two ways of cutting them."""
    known = {"name": file.name, "size": file.size, "etag": file.etag, "chunk": chunk_bytes}
    return json.dumps(known, sort_keys=True) + "\n"


def line(what: int | str, digest: str = "") -> str:
    """A further line."""
    return f"{what} {digest}".rstrip() + "\n"


def read(journal: str, file: RemoteFile, chunk_bytes: int, boot: str = "") -> State | None:
    """What a journal says of a file; None when it is of another object, so that nothing of it can be used.

    Args:
        journal: its text.
        file: the object that is wanted.
        chunk_bytes: the size of chunks now.
        boot: this start of the machine.
    """
    lines = journal.splitlines(keepends=True)
    if not lines or lines[0] != header(file, chunk_bytes):
        return None
    whole = [words for entry in lines[1:] if entry.endswith("\n") and (words := entry.split())]
    last, then, verified = count(file.size, chunk_bytes), "", False
    done: dict[int, str] = {}
    for word, *rest in whole:
        if word == BOOT:
            then = "".join(rest)
        elif word == VERIFIED:
            verified = then == boot
        elif word.isdecimal() and int(word) < last:
            done[int(word)] = rest[0] if rest and then == boot else ""
    return State(frozenset(done), {number: digest for number, digest in done.items() if digest}, verified, then == boot)


def size_for(part_bytes: int, usual_bytes: int) -> int:
    """The size of a file's chunks: whole parts, where its hash is made of parts, so that each is hashed as it comes.

    Args:
        part_bytes: the size of those parts; 0 where the hash is another.
        usual_bytes: the size otherwise, and where a part would be far larger.
    """
    if not part_bytes or part_bytes > usual_bytes * _LARGEST:
        return usual_bytes
    return max(usual_bytes // part_bytes, 1) * part_bytes


def count(size: int, chunk_bytes: int) -> int:
    """How many chunks a file has; an empty file has none."""
    return -(-size // chunk_bytes)


def span(number: int, size: int, chunk_bytes: int) -> tuple[int, int]:
    """The first byte of a chunk and the one after its last."""
    return number * chunk_bytes, min((number + 1) * chunk_bytes, size)


def missing(size: int, chunk_bytes: int, state: State) -> list[int]:
    """The chunks still to be fetched, in order."""
    if state.verified:
        return []
    return [number for number in range(count(size, chunk_bytes)) if number not in state.done]


def done_bytes(size: int, chunk_bytes: int, done: Iterable[int]) -> int:
    """How many bytes these chunks have."""
    return sum(end - start for start, end in (span(number, size, chunk_bytes) for number in done))
