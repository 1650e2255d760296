"""Which layers of a GGUF model have a sliding window: by its header, or for some families as llama.cpp itself knows."""

from collections.abc import Mapping
from typing import Any, NamedTuple

_FULL_EVERY = {
    "gemma2": 2,
    "gpt-oss": 2,
    "afmoe": 4,
    "cohere2": 4,
    "exaone4": 4,
    "exaone-moe": 4,
    "mellum": 4,
    "olmo2": 4,
    "gemma3": 6,
    "plamo3": 8,
}
"""Families whose header need not say that the last of so many layers sees all tokens: llama.cpp's `set_swa_pattern`."""
_FIRST_IS_FULL = {"smallthinker": 4, "laguna": 4, "cohere2moe": 4}
"""The same, where it is the first."""


class Windows(NamedTuple):
    """The sliding windows of one model."""

    tokens: int
    """0: there are none."""
    layers: tuple[bool, ...]
    """Whether each layer has one."""


def of(family: str, said: Mapping[str, Any], layers: int) -> Windows:
    """The windows of a model.

    Of a family that llama.cpp gives none (Phi-3, Llama) or that is not known here, all layers keep all tokens.

    Args:
        family: `general.architecture`.
        said: the header's values, by their keys without the family.
        layers: how many there are.
    """
    tokens = said.get("attention.sliding_window")
    pattern = said.get("attention.sliding_window_pattern")
    if not isinstance(tokens, int) or tokens <= 0:
        return Windows(0, (False,) * layers)
    if isinstance(pattern, list) and len(pattern) == layers:
        return Windows(tokens, tuple(map(bool, pattern)))
    given = pattern if isinstance(pattern, int) and pattern > 0 else None
    if family in _FIRST_IS_FULL:
        every = given or _FIRST_IS_FULL[family]
        return Windows(tokens, tuple(layer % every != 0 for layer in range(layers)))
    if family in _FULL_EVERY:
        every = given or _FULL_EVERY[family]
        return Windows(tokens, tuple(layer % every < every - 1 for layer in range(layers)))
    return Windows(0, (False,) * layers)
