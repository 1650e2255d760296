"""The frames of `headrace_api.wire` over plain HTTP, for a worker behind a proxy that lets no WebSocket through.

- `POST /worker/poll` with the worker's token opens a session: 201 and a `PollSession`.
- `POST /worker/poll/{session}/send/{n}` sends frames, n counting from 1: 204. The same n again, because the answer was
  lost, changes nothing. One request at a time.
- `POST /worker/poll/{session}/fetch/{n}` waits for frames, `wait_s` at most: 200 with frames, perhaps none. Asking for
  n + 1 says that n has come; asking for n again gives the same frames. One request at a time, beside the sending one.
- `DELETE /worker/poll/{session}` ends it: 204.
- 410 says that the session has ended, with a `PollEnd`; 409 that n is neither the last number nor the next.

A session without any request for `silence_s` has lost its worker. Everything else is as on a WebSocket with the
subprotocol `headrace.v1`: the first frame that the worker sends is its `Register`.
"""

import struct
from collections.abc import Iterable, Iterator

from headrace_api.base import Message

POLL_PATH = "/worker/poll"
"""Below this a queue accepts workers that poll."""

TEXT = 1
BINARY = 2
"""A frame's kind."""

_HEADER = struct.Struct(">BI")


class PollSession(Message):
    """A session that was opened."""

    session: str
    wait_s: float
    silence_s: float


class PollEnd(Message):
    """Why a session has ended: what a WebSocket's close frame would say."""

    code: int
    reason: str = ""


def encode_frames(frames: Iterable[tuple[int, bytes]]) -> bytes:
    """A body of `(kind, data)` frames: for each, kind (u8) and length (big-endian u32), then the data."""
    return b"".join(_HEADER.pack(kind, len(data)) + data for kind, data in frames)


def decode_frames(body: bytes) -> Iterator[tuple[int, bytes]]:
    """The frames of a body, in order.

    Raises:
        ValueError: the body ends in the middle of a frame, or a frame is of no known kind.
    """
    offset = 0
    while offset < len(body):
        if offset + _HEADER.size > len(body):
            raise ValueError(f"the body ends within a frame's header, at byte {len(body)}")
        kind, length = _HEADER.unpack_from(body, offset)
        offset += _HEADER.size
        if kind not in {TEXT, BINARY}:
            raise ValueError(f"a frame is of kind {kind}; accepted: {TEXT} for text, {BINARY} for binary")
        if offset + length > len(body):
            raise ValueError(f"the body ends within a frame: {length} bytes announced at byte {offset}")
        yield kind, body[offset : offset + length]
        offset += length
