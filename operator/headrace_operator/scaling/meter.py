"""Measures how many requests there are on average, from numbers that come when they change."""

from dataclasses import dataclass


@dataclass
class Meter:
    """The mean of a number that changes at known times.

    A count at the end of each interval would not see a request that came and went between two counts; a model that gets
    one such request a minute would be called idle.
    """

    time: float
    """When the number was heard last, in seconds."""
    level: float = 0.0
    _began: float = 0.0
    _area: float = 0.0

    def __post_init__(self) -> None:
        self._began = self.time

    def hear(self, now: float, level: float) -> None:
        """The number is `level` from now on."""
        self._area += self.level * (now - self.time)
        self.time, self.level = now, level

    def mean(self, now: float) -> float:
        """The mean since the last call, which ends here; right after it, the number itself."""
        self.hear(now, self.level)
        seconds = now - self._began
        mean = self._area / seconds if seconds > 0 else self.level
        self._began, self._area = now, 0.0
        return mean
