"""How many requests an engine should get at a time, learned from what it does with them. Pure.

A search for where more requests stop to bring more work: a quarter more and a fifth less are tried in turn, and of two
limits the greater one is kept only where the engine does so much more with it. More requests than help would only wait
in the engine, where no other worker can take them, and some engines do less with them. While the time between two
tokens is over its bound, the limit is lowered by a third, as TCP does it, unless that does not help: an engine that is
slow by itself gets no faster with fewer.
"""

import math
from dataclasses import dataclass, replace

FIRST = 64
"""Where a limit that has never been learned begins, if the engine has so many slots."""
_STEP = 1.25
_LOWER = 0.7
_WORTH = 0.1
"""The share of more requests that must come back as more work: of 25 %, 2.5 %. Where throughput levels off slowly, this
ends at nine tenths of the most that there is."""
_FASTER = 0.25
"""The share of fewer requests that must come back as less time between tokens, where that is over its bound."""
_REST = 5
"""Windows without an attempt after one that was in vain: what clients ask may be different then."""
_LONG_REST = 20
"""Likewise where fewer requests did not make tokens come faster."""


@dataclass(frozen=True)
class Window:
    """What was seen of an engine for a while in which the limit stood still."""

    throughput: float
    """Work per second, of whatever unit."""
    inter_token_s: float | None = None
    """The mean time between two tokens of the streams that began under this limit; None where none has ended."""
    full: bool = True
    """Whether it had as many requests as it might."""


@dataclass(frozen=True)
class Capacity:
    """What has been learned."""

    limit: int
    """Requests that it gets at a time."""
    most: int
    """The engine's slots."""
    bound_s: float
    """The longest that the time between two tokens shall be."""
    tried: tuple[int, Window] | None = None
    """The limit before the change that is being tried, and what was seen under it."""
    fewer: bool = False
    """Whether the attempt that goes on, or is the next, is with fewer requests."""
    rest: int = 0
    """Windows until the next attempt."""


def first(most: int, bound_s: float, learned: int | None = None) -> Capacity:
    """Where to begin; `learned` is the limit of an earlier life."""
    return Capacity(limit=max(1, min(most, learned or FIRST)), most=most, bound_s=bound_s)


def after(now: Capacity, window: Window) -> Capacity:
    """What is known after one more window."""
    if not window.full or not window.throughput:  # long prompts are read in without a word
        return now
    if now.tried and _too_slow(now, now.tried[1]):
        return _lowered(now, *now.tried, window)
    if now.tried:
        return _compared(now, *now.tried, window)
    if now.rest:
        return replace(now, rest=now.rest - 1)
    return _lower(now, window) if _too_slow(now, window) else _attempt(now, window)


def _compared(now: Capacity, limit: int, before: Window, window: Window) -> Capacity:
    """Go on in the same direction, or take the attempt back and go in the other one next time."""
    if now.fewer:
        kept = not _more_work(now.limit, window, limit, before)
    else:
        kept = _more_work(limit, before, now.limit, window) and not _too_slow(now, window)
    return _attempt(now, window) if kept else _turned(replace(now, limit=limit))


def _attempt(now: Capacity, window: Window) -> Capacity:
    if now.fewer:
        limit = max(1, min(now.limit - 1, math.floor(now.limit / _STEP)))
    else:
        limit = min(now.most, max(now.limit + 1, math.ceil(now.limit * _STEP)))
    return replace(now, limit=limit, tried=(now.limit, window)) if limit != now.limit else _turned(now)


def _turned(now: Capacity) -> Capacity:
    return replace(now, tried=None, fewer=not now.fewer, rest=_REST)


def _more_work(few: int, with_few: Window, many: int, with_many: Window) -> bool:
    return with_many.throughput > with_few.throughput * (1 + _WORTH * (many / few - 1))


def _too_slow(now: Capacity, window: Window) -> bool:
    return window.inter_token_s is not None and window.inter_token_s > now.bound_s


def _lower(now: Capacity, window: Window) -> Capacity:
    limit = max(1, math.floor(now.limit * _LOWER))
    return replace(now, limit=limit, tried=(now.limit, window) if limit < now.limit else None)


def _lowered(now: Capacity, limit: int, before: Window, window: Window) -> Capacity:
    """Whether a lowering helped; the first streams of the new limit are waited for."""
    if window.inter_token_s is None or before.inter_token_s is None:
        return now
    if not _too_slow(now, window):
        return replace(now, tried=None, rest=_REST)
    helped = before.inter_token_s * (1 - _FASTER * (1 - now.limit / limit))
    if window.inter_token_s > helped:
        return replace(now, limit=limit, tried=None, rest=_LONG_REST)
    return _lower(now, window)
