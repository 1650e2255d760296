"""What a client has been given of a stream, kept so that another worker can go on: bytes, read only when needed."""

import zlib

_END = b"\n\n"
_BLOCK_BYTES = 16 * 1024
_MOST_BYTES = 8 * 2**20
_LONGEST_EVENT = 256 * 1024


class Transcript:
    """Whole events of one stream; older ones are compressed, as all of a stream's events are much alike.

    A stream whose events are too long, end otherwise than in two newlines, or are too many is passed on and not kept.
    """

    def __init__(self) -> None:
        self.lost = False
        """Whether it is not all there: then nobody can go on."""
        self._blocks: list[bytes] = []
        self._open: list[bytes] = []
        self._open_size = 0
        self._size = 0

    def split(self, data: bytes) -> tuple[bytes, bytes]:
        """What of `data` can be given to the client: whole events; and the rest, to be given with what follows."""
        if self.lost or data.endswith(_END):
            return data, b""
        end = data.rfind(_END) + len(_END)
        if end < len(_END):
            if len(data) < _LONGEST_EVENT and b"\r\n\r\n" not in data:
                return b"", data
            self.lose()
            return data, b""
        return data[:end], data[end:]

    def add(self, data: bytes) -> None:
        """Keep what has been given."""
        if self.lost:
            return
        self._open.append(data)
        self._open_size += len(data)
        self._size += len(data)
        if self._size > _MOST_BYTES:
            self.lose()
        elif self._open_size > _BLOCK_BYTES:
            self._blocks.append(zlib.compress(b"".join(self._open), 1))
            self._open, self._open_size = [], 0

    def lose(self) -> None:
        """Keep nothing any more."""
        self.lost = True
        self._blocks, self._open, self._open_size = [], [], 0

    def events(self) -> list[bytes]:
        """The events so far."""
        data = b"".join([*map(zlib.decompress, self._blocks), *self._open])
        return data.split(_END)[:-1]
