"""A bounded memory for pure functions of objects that never change: a model is looked at many times between edits.

The objects are told apart by identity, so that nothing has to be compared or hashed, and kept, so that an identity is
not given to another object. Texts are told apart by what they say.
"""

import functools
from collections import OrderedDict
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_RESULTS = 1500
"""Of each function: enough for the models of a large cluster that change at the same time, a few MiB."""
_TEXT = 8 * 2**20
"""Characters in the texts of each function's arguments: a spec can be as large as etcd lets it be."""


def remembered(function: Callable[P, T]) -> Callable[P, T]:
    """`function`, which calculates once for the same arguments; the results that were made first are forgotten first.

    Only for pure functions whose arguments and results nobody changes; arguments are given by position.
    """
    kept: OrderedDict[tuple[object, ...], tuple[tuple[object, ...], T]] = OrderedDict()
    text = 0

    @functools.wraps(function)
    def remembering(*args: P.args, **kwargs: P.kwargs) -> T:
        if kwargs:
            return function(*args, **kwargs)
        nonlocal text
        key = tuple(one if isinstance(one, str) else id(one) for one in args)
        if key in kept:
            return kept[key][1]
        found = function(*args, **kwargs)
        kept[key] = args, found
        text += _length(args)
        while len(kept) > _RESULTS or text > _TEXT:
            text -= _length(kept.popitem(last=False)[1][0])
        return found

    return remembering


def _length(args: tuple[object, ...]) -> int:
    return sum(len(one) for one in args if isinstance(one, str))
