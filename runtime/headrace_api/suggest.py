"""Suggestions for mistyped words, in one voice everywhere."""

import difflib
from collections.abc import Iterable


def did_you_mean(word: str, accepted: Iterable[str]) -> str:
    """` (did you mean X?)` for the nearest accepted word; empty when none is near."""
    near = difflib.get_close_matches(word, list(accepted), n=1)
    return f" (did you mean {near[0]}?)" if near else ""
