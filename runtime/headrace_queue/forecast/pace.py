"""How many of something happen in a second, of late."""

import math

_MEMORY_SECONDS = 30.0
_FORGOTTEN_SECONDS = 600.0
"""Nothing can be told from what has not happened for so long."""


class Pace:
    """A rate in which what happened counts for less the longer ago it was, by half in 21 s.

    It is divided by how much of that memory there is yet, so that it is right from the beginning. While nothing
    happens it does not fall for ever: what may come as seldom as that is expected to, once in the time since the last.
    """

    __slots__ = ("_at", "_began", "_weight")

    def __init__(self, now: float) -> None:
        self._began = self._at = now
        self._weight = 0.0

    def happened(self, now: float) -> None:
        """Once more."""
        self._weight = self._weight * math.exp((self._at - now) / _MEMORY_SECONDS) + 1
        self._at = now

    def per_second(self, now: float) -> float:
        """The rate; 0 where nothing has happened of late."""
        silent, seen = now - self._at, max(1.0, now - self._began)
        if silent > _FORGOTTEN_SECONDS:
            return 0.0
        memory = _MEMORY_SECONDS * (1 - math.exp(-seen / _MEMORY_SECONDS))
        return max(self._weight * math.exp(-silent / _MEMORY_SECONDS) / memory, 1 / max(silent, _MEMORY_SECONDS))
