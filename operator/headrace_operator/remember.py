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


def remembered(function: Callable[P, T]) -> Callable[P, T]:
    """`function`, which calculates once for the same arguments; the results that were made first are forgotten first.

    Only for pure functions whose arguments and results nobody changes; arguments are given by position.
    """
    kept: OrderedDict[tuple[object, ...], tuple[tuple[object, ...], T]] = OrderedDict()

    @functools.wraps(function)
    def remembering(*args: P.args, **kwargs: P.kwargs) -> T:
        if kwargs:
            return function(*args, **kwargs)
        key = tuple(one if isinstance(one, str) else id(one) for one in args)
        if key not in kept:
            kept[key] = args, function(*args, **kwargs)
            if len(kept) > _RESULTS:
                kept.popitem(last=False)
        return kept[key][1]

    return remembering
