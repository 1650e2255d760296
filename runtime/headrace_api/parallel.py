"""How many copies of itself one engine process group runs: vLLM's data parallelism, an engine argument."""

from collections.abc import Mapping
from typing import Any

NAME = "data_parallel_size"


def data_parallel_size(engine_kwargs: Mapping[str, Any]) -> int:
    """Copies of the model that share a pod's GPUs, each on as many as numWorkers says; 1 for what is no whole number.

    An argument's own rules speak of values that are not accepted.
    """
    return _positive(argument(engine_kwargs, NAME)[1]) or 1


def argument(engine_kwargs: Mapping[str, Any], name: str) -> tuple[str, Any]:
    """An argument of vLLM's command line, which is written with either dashes or underscores: as given, and its value.

    The value of one that is not given is None.
    """
    found = ((key, value) for key, value in engine_kwargs.items() if key.replace("-", "_") == name)
    return next(found, (name, None))


def _positive(value: Any) -> int:
    """A whole number of at most six digits, also as a text: vLLM's arguments may be written as one."""
    text = "" if isinstance(value, bool) else str(value) if isinstance(value, int) else value
    return int(text) if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) <= 6 else 0
