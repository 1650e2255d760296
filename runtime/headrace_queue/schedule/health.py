"""How well a worker does, so that slow ones get less and failing ones nothing for a while.

A circuit breaker (Nygard, Release It!): after some failures in a row the worker rests, then it gets one request to
show that it is well; it rests longer each time that it is not.
"""

_GAIN = 0.2
_SLOW = 2.0
"""A worker is slow whose first tokens take so many times as long as usual: what is less is chance."""
_LEAST_WEIGHT = 0.1
_FAILURES = 3
_REST_SECONDS = 5.0
_LONGEST_REST_SECONDS = 300.0


class Health:
    """Of one worker."""

    __slots__ = ("failures", "first_token_s", "probing", "resting", "rests")

    def __init__(self) -> None:
        self.first_token_s: float | None = None
        """From a job to its first token, on average of late."""
        self.failures = 0
        """In a row."""
        self.rests = 0
        """In a row."""
        self.resting = False
        """Whether it is given nothing."""
        self.probing = False
        """Whether it is given one request at a time, to show that it is well."""

    def began(self, seconds: float) -> None:
        """A request's first token came, so long after the job."""
        before = seconds if self.first_token_s is None else self.first_token_s
        self.first_token_s = before + _GAIN * (seconds - before)

    def succeeded(self) -> None:
        """A request was answered."""
        self.failures = self.rests = 0
        self.probing = False

    def failed(self, *, may_rest: bool) -> float | None:
        """A request was failed. Returns for how many seconds it rests now, None if it does not."""
        self.failures += 1
        if self.resting or not may_rest or not (self.probing or self.failures >= _FAILURES):
            return None
        seconds: float = min(_LONGEST_REST_SECONDS, _REST_SECONDS * 2**self.rests)
        self.rests += 1
        self.resting, self.probing = True, False
        return seconds

    def try_again(self) -> None:
        """It has rested."""
        if self.resting:
            self.resting, self.probing = False, True

    def weight(self, usual_s: float | None) -> float:
        """How much its free credits count for, from 0.1 to 1; `usual_s` is the first tokens' time among its peers."""
        if self.first_token_s is None or usual_s is None or self.first_token_s <= _SLOW * usual_s:
            return 1.0
        return max(_LEAST_WEIGHT, _SLOW * usual_s / self.first_token_s)
