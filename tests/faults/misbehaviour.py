"""What can go wrong between the operator and the API server, as plain data; `proxy` does it."""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Literal


class Fate(Enum):
    """What becomes of a request, and of the operator that sent it."""

    KILL_BEFORE = auto()
    """The operator is killed; the API server never sees the request."""
    KILL_AFTER = auto()
    """The API server does it; the operator is killed before it hears so."""
    CUT_BEFORE = auto()
    """The connection breaks; the API server never sees the request."""
    CUT_AFTER = auto()
    """The API server does it; the connection breaks before the answer."""
    HANG = auto()
    """No answer ever comes; the API server never sees the request."""


@dataclass(frozen=True)
class Answer:
    """The API server's own refusal, for this once."""

    status: int
    reason: str
    retry_after: int | None = None
    """Seconds, as the API server sends them with 429 and 503."""


CONFLICT = Answer(409, "Conflict")
THROTTLED = Answer(429, "TooManyRequests", retry_after=1)
BROKEN = Answer(500, "InternalError")
AWAY = Answer(503, "ServiceUnavailable")

RequestFault = Fate | Answer


@dataclass(frozen=True)
class Delay:
    """A watch event comes late, and with it all that follow on its watch."""

    seconds: float


@dataclass(frozen=True)
class Repeat:
    """A watch tells an object's history again, from the first event on, with a pause in which the oldest one stands."""

    seconds: float = 0.4


@dataclass(frozen=True)
class Drop:
    """Events are lost until the watch breaks, which is the only way in which an API server loses events."""

    seconds: float
    then: Literal["gone", "close"] = "gone"
    """`gone`: an ERROR event with status 410, so that the client lists anew; `close`: the end of the answer."""


WatchFault = Delay | Repeat | Drop
