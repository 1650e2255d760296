"""What the engine has counted by itself, held against what the worker told the queue: the two should be the same.

They differ by what is under way, by the words of the warming, and by what was computed for clients that left. A
difference that grows with the load is usage that nobody accounts for.
"""

import re
from collections.abc import Mapping

_COUNTERS: Mapping[str, str] = {
    "vllm:prompt_tokens_total": "prompt",
    "vllm:generation_tokens_total": "completion",
    "llamacpp:prompt_tokens_total": "prompt",
    "llamacpp:tokens_predicted_total": "completion",
}
"""Engines' counters of tokens since their start. llama.cpp's do not count what a prompt had in the cache."""
_SAMPLE = re.compile(rf"^({'|'.join(map(re.escape, _COUNTERS))})(?:\{{.*\}})? (\S+)$", re.MULTILINE)


def counted(page: str) -> dict[str, float]:
    """Tokens by kind, `prompt` and `completion`, as a page of metrics has them; without those that the engine lacks."""
    found: dict[str, float] = {}
    for name, value in _SAMPLE.findall(page):
        kind = _COUNTERS[name]
        found[kind] = found.get(kind, 0.0) + float(value)
    return found


class Growth:
    """By how much an engine's counters have grown, by kind: also over its being started anew, when they begin at 0."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}
        self._together: dict[str, float] = {}

    def seen(self, kind: str, value: float) -> tuple[float, float]:
        """The engine's counter is at `value`: by how much it has grown since it was seen last, and altogether."""
        last = self._last.get(kind, 0.0)
        grown = value - last if value >= last else value
        self._last[kind] = value
        self._together[kind] = together = self._together.get(kind, 0.0) + grown
        return grown, together
