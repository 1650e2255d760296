"""How many of something happen in a second, of late."""

import math

_MEMORY_SECONDS = 30.0


class Pace:
    """A rate in which what happened counts for less the longer ago it was, by half in 21 s.

    It is divided by how much of that memory there is yet, so that it is right from the beginning.
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
        """The rate; 0 where nothing has happened."""
        seen = max(1.0, now - self._began)
        memory = _MEMORY_SECONDS * (1 - math.exp(-seen / _MEMORY_SECONDS))
        return self._weight * math.exp((self._at - now) / _MEMORY_SECONDS) / memory
