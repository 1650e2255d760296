"""Reads what a GGUF file says of itself: the key-value pairs at its beginning, without the tensors.

The format is llama.cpp's: magic, version, two counts, then pairs of key and typed value, little-endian. The `gguf`
package reads the same but wants numpy and maps the whole file; a worker needs twenty numbers of it.
"""

import struct
from pathlib import Path
from typing import Any, BinaryIO

_MAGIC = b"GGUF"
_PLAIN = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
_MOST_KEPT = 4096
"""Longer lists, which are vocabularies, are passed over."""
_MOST_PAIRS = 1 << 16
_LONGEST_TEXT = 1 << 27


def read(path: Path) -> dict[str, Any]:
    """The pairs by their keys; long lists are left out.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not a GGUF file of version 2 or 3, or it ends in the middle.
    """
    with path.open("rb") as file:
        if file.read(4) != _MAGIC:
            raise ValueError(f"{path} is not a GGUF file")
        try:
            (version,) = _unpack(file, "<I")
            if version not in {2, 3}:
                raise ValueError(f"{path} has version {version} of the GGUF format; versions 2 and 3 are read")
            _, count = _unpack(file, "<QQ")
            if count > _MOST_PAIRS:
                raise ValueError(f"{path} claims to have {count} keys")
            pairs = (_pair(file) for _ in range(count))
            return {key: value for key, value in pairs if value is not None}
        except (struct.error, UnicodeDecodeError, KeyError) as error:
            raise ValueError(f"{path} is damaged: {error}") from error


def _pair(file: BinaryIO) -> tuple[str, Any]:
    key = _text(file)
    (kind,) = _unpack(file, "<I")
    return key, _value(file, kind)


def _value(file: BinaryIO, kind: int) -> Any:
    if kind == _STRING:
        return _text(file)
    if kind == _ARRAY:
        return _list(file)
    return _unpack(file, _PLAIN[kind])[0]


def _list(file: BinaryIO) -> list[Any] | None:
    kind, count = _unpack(file, "<IQ")
    if count <= _MOST_KEPT:
        return [_value(file, kind) for _ in range(count)]
    if kind == _STRING:
        for _ in range(count):
            file.seek(_unpack(file, "<Q")[0], 1)
    else:
        file.seek(count * struct.calcsize(_PLAIN[kind]), 1)
    return None


def _text(file: BinaryIO) -> str:
    (length,) = _unpack(file, "<Q")
    if length > _LONGEST_TEXT:
        raise ValueError(f"a text of {length} bytes is too long")
    return _exactly(file, length).decode()


def _unpack(file: BinaryIO, form: str) -> tuple[Any, ...]:
    return struct.unpack(form, _exactly(file, struct.calcsize(form)))


def _exactly(file: BinaryIO, length: int) -> bytes:
    data = file.read(length)
    if len(data) < length:
        raise struct.error("it ends in the middle")
    return data
