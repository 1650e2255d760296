"""What the connections to the replicas of a queue have in common: the worker's slots and unacknowledged results."""

import itertools
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from headrace_api.wire import Credit, Recall
from headrace_worker.sharing import Seat, moves
from headrace_worker.status import Status
from headrace_worker.unacked import Unacked

Send = Callable[[Credit | Recall], None]
"""Sends a message over a connection; neither waits nor raises."""


@dataclass
class Slots:
    """The worker's slots: carries out `headrace_worker.sharing.moves`."""

    status: Status
    now: Callable[[], float] = time.monotonic
    """Seconds, on the clock of everything that connections measure."""
    _seats: dict[Send, Seat] = field(default_factory=dict)
    _turns: "itertools.count[int]" = field(default_factory=lambda: itertools.count(random.randrange(2**16)))  # noqa: S311

    def __post_init__(self) -> None:
        self.status.metrics.credits.set_function(lambda: sum(seat.credits for seat in self._seats.values()))

    def join(self, send: Send, *, returns: bool) -> Seat:
        """A connection is registered."""
        seat = self._seats[send] = Seat(returns=returns)
        return seat

    def leave(self, send: Send) -> None:
        """It has ended, and no job of it is under way: its slots are the others'."""
        self._seats.pop(send, None)
        self.settle()

    def settle(self) -> None:
        """Grant and recall what is due; a worker that takes fewer jobs than before recalls, or lets credits run out."""
        if offer := self.status.offered:
            while due := moves(self.now(), offer.slots, self._seats, next(self._turns)):
                for send, number in due.items():
                    self._move(send, number)

    def _move(self, send: Send, number: int) -> None:
        if number > 0:
            self._seats[send].credits += number
            send(Credit(n=number))
        else:
            self._seats[send].recalled = -number
            send(Recall(n=-number))


@dataclass(frozen=True)
class Shared:
    """All of it."""

    status: Status
    slots: Slots
    unacked: Unacked

    @classmethod
    def of(cls, status: Status, now: Callable[[], float] = time.monotonic) -> "Shared":
        """For one worker; see `Slots.now`."""
        return cls(status, Slots(status, now), Unacked())
