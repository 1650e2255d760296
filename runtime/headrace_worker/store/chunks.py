"""Which ranges of a file are still to be fetched, and the journal that remembers it through a kill. Pure.

The journal of a file is text: a first line says of which object it is, each further line names a chunk whose bytes are
in the file. A line is written after its bytes, so a kill loses a chunk at most; a line that was cut off counts for
nothing. (After a crash of the whole machine bytes may be missing that a line promises; the hash tells.)
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from headrace_worker.store.files import RemoteFile

VERIFIED = "verified"
"""The line after which the whole file is known to be right."""


@dataclass(frozen=True)
class State:
    """How much of a file is there."""

    done: frozenset[int] = frozenset()
    """Numbers of chunks."""
    digests: Mapping[int, str] = field(default_factory=dict)
    """Of those, the MD5 in hexadecimal, where it was made on the way."""
    verified: bool = False


def header(file: RemoteFile, chunk_bytes: int) -> str:
    """The first line: whatever differs between two objects, or two ways of cutting them."""
    known = {"name": file.name, "size": file.size, "etag": file.etag, "chunk": chunk_bytes}
    return json.dumps(known, sort_keys=True) + "\n"


def line(what: int | str, digest: str = "") -> str:
    """A further line."""
    return f"{what} {digest}".rstrip() + "\n"


def read(journal: str, file: RemoteFile, chunk_bytes: int) -> State | None:
    """What a journal says of a file; None when it is of another object, so that nothing of it can be used."""
    lines = journal.splitlines(keepends=True)
    if not lines or lines[0] != header(file, chunk_bytes):
        return None
    whole = [entry.rstrip("\n") for entry in lines[1:] if entry.endswith("\n")]
    last = count(file.size, chunk_bytes)
    found = {int(words[0]): words[1:] for entry in whole if (words := entry.split()) and words[0].isdecimal()}
    done = {number: rest for number, rest in found.items() if number < last}
    digests = {number: rest[0] for number, rest in done.items() if rest}
    return State(frozenset(done), digests, VERIFIED in whole)


def size_for(part_bytes: int | None, usual_bytes: int) -> int:
    """The size of a file's chunks: that of the parts that its hash is made of, so that each is hashed as it comes.

    Args:
        part_bytes: the size of those parts; None where the hash is another.
        usual_bytes: the size otherwise, and where parts would be far smaller or larger.
    """
    return part_bytes if part_bytes and usual_bytes // 2 <= part_bytes <= usual_bytes * 8 else usual_bytes


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
