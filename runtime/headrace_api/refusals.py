"""What engines cannot do with accepted values: one predicate each for the rules and for the worker's start."""

from typing import Any

OF_THE_REQUEST = ("messages", "model", "prompt", "stream", "stream_options")
"""Names that `generate_kwargs` may not set, because every request has its own."""


def vllm_stops_at(sequence: Any) -> bool:
    """Whether vLLM can stop there: at text, a token id or a list of one, as it has no stop at several ids in a row."""
    if isinstance(sequence, list):
        return len(sequence) == 1 and isinstance(sequence[0], int)
    return isinstance(sequence, int | str)


def llamacpp_stops_at(sequence: Any) -> bool:
    """Whether llama.cpp's server can stop there: at text only."""
    return isinstance(sequence, str)


def is_variable(name: str) -> bool:
    """Whether an environment variable can have the name: POSIX has no `=` and no NUL in it, and none that is empty."""
    return bool(name) and "=" not in name and "\0" not in name
