"""Patterns of model names: which models a key or a worker's token has a right to.

They are globs as a shell has them (`*`, `?`, `[...]`), compared with the whole name, case and all. An adapter is asked
for as `model:adapter`: `m` allows the model alone, `m:*` its adapters alone, `m*` both.
"""

import fnmatch
import re
from collections.abc import Callable, Sequence

EVERYTHING = ("*",)
"""The patterns of one who may ask for any model."""


def matcher(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Says whether a name matches any of `patterns`; without any, none does."""
    if "*" in patterns:
        return lambda _: True
    if not patterns:
        return lambda _: False
    one = re.compile("|".join(fnmatch.translate(pattern) for pattern in patterns))
    return lambda name: one.match(name) is not None
