"""Takes the usage out of a stream of server-sent events, without parsing any other event of it."""

import json
import re
from collections.abc import Callable

from pydantic import ValidationError

from headrace_api.wire import Usage

_END = b"\n\n"
_HAS_USAGE = re.compile(rb'"usage"\s*:\s*\{')
"""Matches outside of JSON strings only: within one, the quotes would be escaped."""

_DECODER = json.JSONDecoder()
_LONGEST_USAGE = 10_000


def usage_of(data: bytes) -> Usage | None:
    """The usage in a whole answer, without reading the rest of it: an answer with many embeddings is large."""
    for found in _HAS_USAGE.finditer(data):
        try:
            told, _ = _DECODER.raw_decode(data[found.end() - 1 : found.end() + _LONGEST_USAGE].decode(errors="replace"))
            return Usage.model_validate(told)
        except (ValueError, ValidationError):
            continue
    return None


class EventCutter:
    """Cuts a stream into the data of its events; the end mark of OpenAI's streams is none."""

    def __init__(self, emit: Callable[[str], None]) -> None:
        self._emit = emit
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Emit the events that are whole now."""
        *events, self._rest = (self._rest + data).split(_END)
        for event in events:
            text = event.removeprefix(b"data:").strip()
            if text and text != b"[DONE]":
                self._emit(text.decode(errors="replace"))


class UsageTap:
    """Passes events on; remembers the usage; keeps the event that only carries usage unless `keep_usage`."""

    def __init__(self, *, keep_usage: bool) -> None:
        self._keep_usage = keep_usage
        self._rest = b""
        self.usage: Usage | None = None

    def feed(self, data: bytes) -> bytes:
        """The bytes to pass on: whole events only, because the end of one may decide whether it is passed on."""
        data = self._rest + data
        end = data.rfind(_END) + len(_END)
        if end < len(_END):
            self._rest = data
            return b""
        block, self._rest = data[:end], data[end:]
        if not _HAS_USAGE.search(block):
            return block
        return b"".join(event + _END for event in block.split(_END)[:-1] if self._passes(event))

    def finish(self) -> bytes:
        """What is left when the stream has ended."""
        rest, self._rest = self._rest, b""
        return rest

    def _passes(self, event: bytes) -> bool:
        if not _HAS_USAGE.search(event):
            return True
        try:
            chunk = json.loads(event.removeprefix(b"data:"))
            self.usage = Usage.model_validate(chunk["usage"])
        except (ValueError, KeyError, TypeError, ValidationError):
            return True
        return self._keep_usage or bool(chunk.get("choices"))
