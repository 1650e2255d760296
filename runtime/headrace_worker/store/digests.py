"""The hash of a file from those of its chunks, each made while the chunk is in the CPU's cache. Pure.

Possible with CRCs, and with an ETag of S3 that is the MD5 of the MD5s of parts, where a chunk has whole parts.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

from headrace_worker.store import crc
from headrace_worker.store.verify import Check


def name_for(check: Check, chunk_bytes: int) -> str:
    """The hash to make of each chunk; empty where those of chunks are of no use."""
    if check.algorithm in crc.NAMES:
        return check.algorithm
    return "md5" if check.part_sizes and chunk_bytes % check.part_sizes[0] == 0 else ""


class Digest:
    """The hash of one chunk, while it comes."""

    def __init__(self, name: str, part_bytes: int = 0) -> None:
        """Of `name_for`; of an empty name nothing is made. An MD5 is made of each part."""
        self._name = name
        self._part_bytes = part_bytes
        self._left = 0
        self._md5s: list[Any] = []
        self._crc = 0

    def update(self, data: memoryview | bytes) -> None:
        """More of the chunk."""
        if self._name == "md5":
            self._add(memoryview(data))
        elif self._name in crc.NAMES:
            self._crc = crc.update(self._name, data, self._crc)

    def _add(self, data: memoryview) -> None:
        while data:
            if not self._left:
                self._md5s.append(hashlib.md5(usedforsecurity=False))
                self._left = self._part_bytes
            self._md5s[-1].update(data[: self._left])
            taken = min(len(data), self._left)
            self._left, data = self._left - taken, data[taken:]

    def text(self) -> str:
        """As the journal has it."""
        if not self._name:
            return ""
        return f"{self._name}:{''.join(made.hexdigest() for made in self._md5s) or f'{self._crc:x}'}"


def usable(text: str, name: str) -> bool:
    """Whether a digest that a journal has is one of those that are made now."""
    return bool(name) and text.startswith(f"{name}:")


def joined(check: Check, texts: Sequence[str], lengths: Sequence[int]) -> bytes:
    """The file's hash, as `check` has it, from the digests of all chunks in their order, and their lengths in bytes."""
    plain = [text.partition(":")[2] for text in texts]
    if check.algorithm == "parts":
        return hashlib.md5(b"".join(map(bytes.fromhex, plain)), usedforsecurity=False).digest()
    name: crc.Name = check.algorithm  # type: ignore[assignment]
    numbers = [int(text, 16) for text in plain]
    return crc.digest(name, crc.whole(name, zip(numbers, lengths, strict=True)))
