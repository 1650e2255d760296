"""How many requests an engine should get at a time, learned from what it does with them. Pure.

Additive increase, multiplicative decrease, as TCP does it: the limit is raised by a quarter while that makes the engine
do more work, and lowered by a third while the time between two tokens is over its bound. A change that does not help is
taken back: more requests than help would only wait in the engine, where no other worker can take them, and an engine
that is slow by itself gets no faster with fewer.
"""

import math
from dataclasses import dataclass, replace

FIRST = 64
"""Where a limit that has never been learned begins, if the engine has so many slots."""
_RAISE = 1.25
_LOWER = 0.7
_WORTH = 0.25
"""The share of a change that must come back: 25 % more requests, 6 % more work."""
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
    rest: int = 0


def first(most: int, bound_s: float, learned: int | None = None) -> Capacity:
    """Where to begin; `learned` is the limit of an earlier life."""
    return Capacity(limit=max(1, min(most, learned or FIRST)), most=most, bound_s=bound_s)


def after(now: Capacity, window: Window) -> Capacity:
    """What is known after one more window."""
    if not window.full:
        return now
    if now.tried and now.tried[0] > now.limit:
        return _lowered(now, *now.tried, window)
    if now.rest:
        return replace(now, rest=now.rest - 1)
    if _too_slow(now, window):
        return _lower(now, window)
    if now.tried and not _more_work(now.tried[0], now.tried[1], now.limit, window):
        return replace(now, limit=now.tried[0], tried=None, rest=_REST)
    return _raise(now, window)


def _lowered(now: Capacity, limit: int, before: Window, window: Window) -> Capacity:
    """Whether a lowering helped; the first streams of the new limit are waited for."""
    if window.inter_token_s is None or before.inter_token_s is None:
        return now
    if not _too_slow(now, window):
        return replace(now, tried=None, rest=_REST)
    helped = before.inter_token_s * (1 - _WORTH * (1 - now.limit / limit))
    if window.inter_token_s > helped:
        return replace(now, limit=limit, tried=None, rest=_LONG_REST)
    return _lower(now, window)


def _too_slow(now: Capacity, window: Window) -> bool:
    return window.inter_token_s is not None and window.inter_token_s > now.bound_s


def _more_work(limit: int, before: Window, raised: int, window: Window) -> bool:
    return window.throughput > before.throughput * (1 + _WORTH * (raised / limit - 1))


def _lower(now: Capacity, window: Window) -> Capacity:
    limit = max(1, math.floor(now.limit * _LOWER))
    return replace(now, limit=limit, tried=(now.limit, window) if limit < now.limit else None)


def _raise(now: Capacity, window: Window) -> Capacity:
    limit = min(now.most, max(now.limit + 1, math.ceil(now.limit * _RAISE)))
    return replace(now, limit=limit, tried=(now.limit, window) if limit > now.limit else None)
