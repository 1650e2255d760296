"""The binary frames of `headrace.v1`: pieces of the answers of any number of jobs."""

import struct
from collections.abc import Iterable

TOKEN_MARK = b'"choices"'
"""Each event that carries some of an answer has it once, with every engine; within a text its quotes are escaped."""

MOST_PIECES = 65_536
"""In one frame: many times what an honest worker has to say at one time."""

_HEADER = struct.Struct(">II")


def encode_pieces(pieces: Iterable[tuple[int, bytes]]) -> bytes:
    """One binary frame of `(job, bytes)` pieces: for each, job and length as big-endian u32, then the bytes."""
    return b"".join([part for job, data in pieces for part in (_HEADER.pack(job, len(data)), data)])


def decode_pieces(frame: bytes) -> list[tuple[int, bytes]]:
    """The pieces of a binary frame, in order.

    Raises:
        ValueError: the frame ends in the middle of a piece, or has too many.
    """
    pieces: list[tuple[int, bytes]] = []
    offset = 0
    while offset < len(frame):
        if offset + _HEADER.size > len(frame):
            raise ValueError(f"the frame ends within a piece's header, at byte {len(frame)}")
        job, length = _HEADER.unpack_from(frame, offset)
        offset += _HEADER.size
        if len(pieces) == MOST_PIECES:
            raise ValueError(f"the frame has more than {MOST_PIECES} pieces")
        if offset + length > len(frame):
            raise ValueError(f"the frame ends within a piece of job {job}: {length} bytes announced at byte {offset}")
        pieces.append((job, frame[offset : offset + length]))
        offset += length
    return pieces
