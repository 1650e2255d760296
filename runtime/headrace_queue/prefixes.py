"""Names the beginnings of a prompt, so that a conversation can go back to the worker whose engine has them cached.

Each name is a hash of everything up to the end of one message, or of one block of a prompt: two requests share a name
if they begin alike. It is Python's own keyed hash: fast, the same for as long as this process lives, and not to be
guessed from outside.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic_core import to_json

_WORTHWHILE_BYTES = 512
"""Beginnings that are shorter are computed anew sooner than looked for: some 128 tokens."""
_BLOCK = 2048
"""Characters, or tokens, of a block of a prompt that has no messages."""
_FIRST, _LAST = 2, 30
"""Of a long conversation so many names are kept: what all of its kind begin with, and its newest messages."""

Prefixes = tuple[int, ...]
"""Names, the shortest beginning first."""


def of_body(body: Mapping[str, Any]) -> Prefixes:
    """Of a request: its `messages`, or its `prompt`; nothing of what has neither, or is too short."""
    model = body.get("model")
    messages = body.get("messages")
    if isinstance(messages, list):
        return _kept(_chain(hash((model, to_json(body["tools"]))) if body.get("tools") else hash(model), messages))
    prompt = body.get("prompt")
    if isinstance(prompt, str) or (isinstance(prompt, list) and len(prompt) > _BLOCK):
        return _kept(_blocks(hash(model), prompt))
    return ()


def _chain(name: int, messages: Iterable[Any]) -> Iterator[int]:
    size = 0
    for message in messages:
        role, content = (message.get("role"), message.get("content")) if isinstance(message, dict) else (None, None)
        if isinstance(content, str) and isinstance(role, str) and len(message) == 2:  # as nearly all are
            size += len(content)
            name = hash((name, role, content))
        else:
            data = to_json(message)
            size += len(data)
            name = hash((name, data))
        if size >= _WORTHWHILE_BYTES:
            yield name


def _blocks(name: int, prompt: str | Sequence[Any]) -> Iterator[int]:
    for start in range(0, len(prompt) - _BLOCK + 1, _BLOCK):
        block = prompt[start : start + _BLOCK]
        name = hash((name, block if isinstance(block, str) else to_json(block)))
        yield name


def _kept(names: Iterable[int]) -> Prefixes:
    found = tuple(names)
    return found if len(found) <= _FIRST + _LAST else found[:_FIRST] + found[-_LAST:]
