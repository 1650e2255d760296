"""Takes the usage and an error out of a stream of server-sent events, without parsing any other event of it."""

import json
import re
from collections.abc import Callable
from typing import Any

import msgspec

from headrace_api.wire import Usage

_END = b"\n\n"
_USAGE = b'"usage"'
_ERROR = b'"error"'
_HAS_USAGE = re.compile(_USAGE + rb"\s*:\s*\{")
"""Matches outside of JSON strings only: within one, the quotes would be escaped."""

_DECODER = json.JSONDecoder()
_LONGEST_USAGE = 10_000


class _Told(Usage, frozen=True):
    """The same as engines write it."""

    prompt_tokens_details: Any = None

    def usage(self) -> Usage:
        details = self.prompt_tokens_details
        cached = details.get("cached_tokens") if isinstance(details, dict) else None
        cached = cached if isinstance(cached, int) and 0 <= cached <= self.prompt_tokens else self.cached_tokens
        return Usage(self.prompt_tokens, cached, self.completion_tokens, self.total_tokens)


class _Chunk(msgspec.Struct):
    """An event of a stream that tells usage."""

    usage: _Told
    choices: Any = None


_CHUNKS = msgspec.json.Decoder(_Chunk, strict=False)


def usage_of(data: bytes) -> Usage | None:
    """The usage in a whole answer, without reading the rest of it: an answer with many embeddings is large."""
    for found in _HAS_USAGE.finditer(data):
        try:
            told, _ = _DECODER.raw_decode(data[found.end() - 1 : found.end() + _LONGEST_USAGE].decode(errors="replace"))
            return msgspec.convert(told, _Told, strict=False).usage()
        except ValueError:  # msgspec's are ones, too
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
    """Passes events on; remembers the usage; keeps the event that only carries usage unless `keep_usage`.

    An event that carries an error is kept, too, and all after it: vLLM ends such a stream as if it were complete.
    """

    def __init__(self, *, keep_usage: bool) -> None:
        self._keep_usage = keep_usage
        self._rest = b""
        self.usage: Usage | None = None
        self.error: dict[str, Any] | None = None
        """What went wrong, as the engine tells it in its stream."""

    def feed(self, data: bytes) -> bytes:
        """The bytes to pass on: whole events only, because the end of one may decide whether it is passed on."""
        if self._rest:
            data, self._rest = self._rest + data, b""
        if not data.endswith(_END):
            end = data.rfind(_END) + len(_END)
            if end < len(_END):
                self._rest = data
                return b""
            data, self._rest = data[:end], data[end:]
        if _ERROR in data or self.error is not None:
            data = self._before_error(data)
        # the first look is the cheap one: a plain search in bytes is several times as fast as the pattern's
        if _USAGE not in data or not (found := _HAS_USAGE.search(data)):
            return data
        start = data.rfind(_END, 0, found.start()) + len(_END)  # of the event that tells it
        start = start if start >= len(_END) else 0
        events = data[start:].split(_END)[:-1]
        return data[:start] + b"".join([event + _END for event in events if self._passes(event)])

    def finish(self) -> bytes:
        """What is left when the stream has ended."""
        rest, self._rest = self._rest, b""
        self.error = self.error or _error_in(rest)
        return b"" if self.error else rest

    def _before_error(self, data: bytes) -> bytes:
        if self.error is not None:
            return b""
        events = data.split(_END)[:-1]
        for number, event in enumerate(events):
            if (error := _error_in(event)) is not None:
                self.error = error
                return b"".join([one + _END for one in events[:number]])
        return data

    def _passes(self, event: bytes) -> bool:
        if not _HAS_USAGE.search(event):
            return True
        try:
            chunk = _CHUNKS.decode(event.removeprefix(b"data:"))
        except ValueError:  # msgspec's are ones, too
            return True
        self.usage = chunk.usage.usage()
        return self._keep_usage or bool(chunk.choices)


def _error_in(event: bytes) -> dict[str, Any] | None:
    """The error of an event that is one's; an answer's text may be the word, too."""
    if _ERROR not in event:
        return None
    try:
        said = json.loads(event[event.find(b"{") :])
    except ValueError:
        return None
    error = said.get("error") if isinstance(said, dict) else None
    if not error:
        return None
    return error if isinstance(error, dict) else {"message": str(error)}
