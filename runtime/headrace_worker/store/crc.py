"""CRCs: those of chunks that came in any order are put together to that of the whole file. Pure.

They are what clouds keep of an object today (`x-amz-checksum-crc64nvme`, `x-goog-hash`), cost a tenth of an MD5, and
find every damage that is not made on purpose; who could make one could change the object, too.
"""

from collections.abc import Callable, Iterable
from functools import cache
from typing import Literal, get_args

Name = Literal["crc32", "crc32c", "crc64nvme"]
NAMES: tuple[Name, ...] = get_args(Name)
WIDTH = {"crc32": 4, "crc32c": 4, "crc64nvme": 8}
"""Bytes."""


def update(name: Name, data: memoryview | bytes, before: int = 0) -> int:
    """The CRC of what `before` is the CRC of, with `data` after it."""
    return _functions(name)[0](data, before)


def whole(name: Name, parts: Iterable[tuple[int, int]]) -> int:
    """The CRC of consecutive parts, of each of which CRC and length (in bytes) are given."""
    combine, made = _functions(name)[1], 0
    for crc, length in parts:
        made = combine(made, crc, length)
    return made


def digest(name: Name, crc: int) -> bytes:
    """As headers have it (in base64): big-endian."""
    return crc.to_bytes(WIDTH[name], "big")


@cache
def _functions(name: Name) -> tuple[Callable[..., int], Callable[[int, int, int], int]]:
    from awscrt import checksums  # noqa: PLC0415 - where weights are in a folder, nothing of it is needed

    return {
        "crc32": (checksums.crc32, checksums.combine_crc32),
        "crc32c": (checksums.crc32c, checksums.combine_crc32c),
        "crc64nvme": (checksums.crc64nvme, checksums.combine_crc64nvme),
    }[name]
