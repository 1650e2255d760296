"""Whether a file is what its source says: which hash is known of it, and the comparison.

A checksum that the source tells beside the ETag (`RemoteFile.checksum`) wins: a CRC costs a tenth of an MD5. Else the
ETag may be one:

- 32 hex digits: the MD5 of an object of S3 or Google Cloud Storage (24 characters of base64 in some servers), unless
  S3 encrypts with a key of the object's owner.
- `<32 hex digits>-<n>`: S3's MD5 of the MD5s of n parts. The size of a part is not told: the sizes that uploading
  programs use are tried. None of them fitting proves nothing, for a program may use any: then
  the file is fetched twice, and two that are equal are believed.
- 64 hex digits: the SHA-256 of a file that the hub keeps in LFS; 40: Git's own hash, of a small one.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from headrace_worker.store import crc

_MIB = 2**20
_PARTS = tuple(
    size * _MIB for size in (8, 5, 16, 10, 15, 20, 25, 32, 50, 64, 100, 128, 200, 250, 256, 500, 512, 1024)
) + tuple(size * 1000**2 for size in (5, 8, 10, 16, 50, 64, 100))
"""Of the AWS command line and boto3 (8 MiB), rclone (5), s5cmd (50), and others; after them, whole MiB."""
_MOST_SIZES = 6
_BLOCK = 4 * _MIB


@dataclass(frozen=True)
class Check:
    """How a file can be checked."""

    algorithm: Literal["md5", "sha256", "git", "parts", "none"] | crc.Name
    digest: bytes = b""
    part_sizes: tuple[int, ...] = ()
    """Sizes with which the file would have as many parts as it has."""


@dataclass(frozen=True)
class Verdict:
    """What came of it."""

    right: bool
    found: str = ""
    """The digest of what is there, in hexadecimal, where it is not right."""


def check_for(etag: str, size: int, checksum: str = "") -> Check:
    """The check that a `RemoteFile.checksum`, else an ETag, allows. Pure."""
    told, _, digest = checksum.partition(":")
    if told in {*crc.NAMES, "sha256", "md5", "none"}:
        return Check(told, bytes.fromhex(digest))  # type: ignore[arg-type]
    if re.fullmatch(r"[0-9a-fA-F]{32}", etag):
        return Check("md5", bytes.fromhex(etag))
    if found := re.fullmatch(r"([0-9a-fA-F]{32})-(\d{1,5})", etag):
        sizes = _part_sizes(size, int(found[2]))
        return Check("parts", bytes.fromhex(found[1]), sizes) if sizes else Check("none")
    if re.fullmatch(r"[0-9a-f]{64}|[0-9a-f]{40}", etag):
        return Check("sha256" if len(etag) == 64 else "git", bytes.fromhex(etag))
    if re.fullmatch(r"[A-Za-z0-9+/]{22}==", etag):
        return Check("md5", _base64(etag))
    return Check("none")


def _part_sizes(size: int, parts: int) -> tuple[int, ...]:
    """The sizes, all parts but the last being equal, that make so many parts; of many parts only one is whole MiB."""
    if parts == 1:
        return (max(size, 1),)
    if parts < 1 or size == 0:
        return ()
    usual = [part for part in _PARTS if -(-size // part) == parts]
    smallest, end = -(-size // parts // _MIB), -(-size // (parts - 1) // _MIB)
    whole = [number * _MIB for number in range(max(smallest, 1), end + 1)]
    fitting = [part for part in whole if -(-size // part) == parts and part not in usual]
    return (*usual, *fitting[: _MOST_SIZES - len(usual)])


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return b""


def verify(path: Path, check: Check, pool: ThreadPoolExecutor) -> Verdict:
    """Read the file and compare. Blocks; `pool` hashes the parts of one file side by side."""
    if check.algorithm == "none":
        return Verdict(right=True)
    found = b""
    if check.algorithm in crc.NAMES:
        found = _crc(path, check.algorithm)
        return Verdict(right=True) if found == check.digest else Verdict(right=False, found=found.hex())
    for part in check.part_sizes or (0,):
        found = _of_parts(path, part, pool) if part else _whole(path, check)
        if found == check.digest:
            return Verdict(right=True)
    return Verdict(right=False, found=found.hex())


def _whole(path: Path, check: Check) -> bytes:
    if check.algorithm == "git":
        made = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    else:
        made = hashlib.new(check.algorithm, usedforsecurity=False)
    return _feed(made, path, 0, path.stat().st_size)


def _crc(path: Path, name: crc.Name) -> bytes:
    made = 0
    for block in _blocks(path, 0, path.stat().st_size):
        made = crc.update(name, block, made)
    return crc.digest(name, made)


def _of_parts(path: Path, part: int, pool: ThreadPoolExecutor) -> bytes:
    size = path.stat().st_size
    digests = pool.map(lambda start: _part(path, start, min(start + part, size)), range(0, max(size, 1), part))
    return hashlib.md5(b"".join(digests), usedforsecurity=False).digest()


def _part(path: Path, start: int, end: int) -> bytes:
    return _feed(hashlib.md5(usedforsecurity=False), path, start, end)


def _feed(made: Any, path: Path, start: int, end: int) -> bytes:
    for block in _blocks(path, start, end):
        made.update(block)
    digest: bytes = made.digest()
    return digest


def _blocks(path: Path, start: int, end: int) -> Iterator[memoryview]:
    buffer = memoryview(bytearray(_BLOCK))
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        while start < end and (got := file.readinto(buffer[: min(_BLOCK, end - start)])):
            yield buffer[:got]
            start += got
