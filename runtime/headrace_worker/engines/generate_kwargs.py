"""`generation.generate_kwargs`: parameters of a request, where the request itself does not say otherwise."""

from collections.abc import Mapping
from typing import Any

from headrace_worker.engines.protocol import EngineConfigError

_OF_THE_REQUEST = ("messages", "model", "prompt", "stream", "stream_options")
_RENAMED = {
    "do_sample": "temperature, with 0 for no sampling",
    "max_new_tokens": "max_tokens",
    "min_new_tokens": "min_tokens",
    "num_return_sequences": "n",
}
"""Names of the transformers library, which engines with OpenAI's API would ignore."""
_SAME = ("max_tokens", "max_completion_tokens")


def check(kwargs: Mapping[str, Any]) -> None:
    """Check that every name means something in a request.

    Raises:
        EngineConfigError: one does not.
    """
    for name in kwargs:
        key = f"generator.generation.generate_kwargs.{name}"
        if name in _OF_THE_REQUEST:
            raise EngineConfigError(f"{key}: not accepted, because every request has its own; leave it out")
        if name in _RENAMED:
            raise EngineConfigError(f"{key}: the engines' API does not have it; accepted: {_RENAMED[name]}")


def merged(kwargs: Mapping[str, Any], request: Mapping[str, Any]) -> dict[str, Any]:
    """The request, with `kwargs` for what it leaves out or has as null; it may name a limit by either of two names."""
    given = {name for name, value in request.items() if value is not None}
    if given.intersection(_SAME):
        given.update(_SAME)
    return {**request, **{name: value for name, value in kwargs.items() if name not in given}}
