"""Which ranges of a file are still to be fetched, and the journal that remembers it through a kill. Pure.

The journal of a file is text: a first line says of which object it is, each further line names a chunk whose bytes are
in the file. A line is written after its bytes, so a kill loses a chunk at most; a line that was cut off counts for
nothing. (After a crash of the whole machine bytes may be missing that a line promises; the hash tells.)
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from headrace_worker.store.files import RemoteFile

VERIFIED = "verified"
"""The line after which the whole file is known to be right."""


@dataclass(frozen=True)
class State:
    """How much of a file is there."""

    done: frozenset[int] = frozenset()
    """Numbers of chunks."""
    verified: bool = False


def header(file: RemoteFile, chunk_bytes: int) -> str:
    """The first line: whatever differs between two objects, or two ways of cutting them."""
    known = {"name": file.name, "size": file.size, "etag": file.etag, "chunk": chunk_bytes}
    return json.dumps(known, sort_keys=True) + "\n"


def line(what: int | str) -> str:
    """A further line."""
    return f"{what}\n"


def read(journal: str, file: RemoteFile, chunk_bytes: int) -> State | None:
    """What a journal says of a file; None when it is of another object, so that nothing of it can be used."""
    lines = journal.splitlines(keepends=True)
    if not lines or lines[0] != header(file, chunk_bytes):
        return None
    whole = [entry.rstrip("\n") for entry in lines[1:] if entry.endswith("\n")]
    last = count(file.size, chunk_bytes)
    done = frozenset(int(entry) for entry in whole if entry.isdecimal() and int(entry) < last)
    return State(done, VERIFIED in whole)


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
