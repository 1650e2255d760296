"""How long the worker's GPUs worked for each request: at each moment the requests under way share them alike."""

from dataclasses import dataclass


@dataclass
class SharedTime:
    """GPU-seconds that one request gets, summed since the beginning; pure: times come from any one clock, in seconds.

    A request's are what the sum has grown by while it was under way, so that a moment costs nothing per request, and
    all requests together never get more than `gpus` times the time that has passed.
    """

    gpus: int
    sharing: int = 0
    """Requests under way."""
    _each: float = 0.0
    _at: float = 0.0

    def begin(self, now: float) -> float:
        """A request begins; returns its mark, for `end`."""
        self._go_on(now)
        self.sharing += 1
        return self._each

    def end(self, mark: float, now: float) -> float:
        """It has ended: its GPU-seconds."""
        self._go_on(now)
        self.sharing -= 1
        return self._each - mark

    def _go_on(self, now: float) -> None:
        if self.sharing:
            self._each += self.gpus * (now - self._at) / self.sharing
        self._at = now
