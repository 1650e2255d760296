"""Counts what was used in the last minute and on this day. Pure: the time is handed in, as seconds since 1970."""

from collections import deque

MINUTE = 60.0
DAY = 86_400
_SLOTS_PER_SECOND = 4


class LastMinute:
    """What was used in the last 60 seconds, to a quarter of a second: never less than what was."""

    __slots__ = ("_slots", "_total")

    def __init__(self) -> None:
        self._slots: deque[tuple[int, float]] = deque()
        self._total = 0.0

    def add(self, amount: float, now: float) -> None:
        """Count `amount`; a clock that was set back counts it where the last one was."""
        slot = int(now * _SLOTS_PER_SECOND)
        self._total += amount
        if self._slots and self._slots[-1][0] >= slot:
            slot, before = self._slots.pop()
            amount += before
        self._slots.append((slot, amount))

    def correct(self, change: float, since: float, now: float) -> None:
        """What was counted at `since` was so much more, which counts from now on, or so much less."""
        if change >= 0:
            self.add(change, now)
            return
        slots, slot = self._slots, int(since * _SLOTS_PER_SECOND)
        for index in range(len(slots) - 1, -1, -1):
            counted, amount = slots[index]
            if counted <= slot:
                if counted == slot:
                    slots[index] = (counted, amount + change)
                    self._total += change
                return  # else it is no longer of the last minute

    def used(self, now: float) -> float:
        """In the last 60 seconds."""
        slots, oldest = self._slots, int((now - MINUTE) * _SLOTS_PER_SECOND)
        while slots and slots[0][0] < oldest:
            self._total -= slots.popleft()[1]
        return self._total if slots else 0.0

    def seconds_until(self, free: float, now: float) -> float:
        """How long until `free` of what is used is no longer of the last minute; of all of it if that is less."""
        freed, end = 0.0, now
        for slot, amount in self._slots:
            freed += amount
            end = (slot + 1) / _SLOTS_PER_SECOND + MINUTE
            if freed >= free:
                break
        return max(end - now, 0.0)

    def seconds_until_none(self, now: float) -> float:
        """How long until all that is used is no longer of the last minute."""
        if not self._slots:
            return 0.0
        return (self._slots[-1][0] + 1) / _SLOTS_PER_SECOND + MINUTE - now


class Today:
    """What was used since midnight, UTC."""

    __slots__ = ("_total", "day")

    def __init__(self) -> None:
        self.day = 0
        """Days since 1970."""
        self._total = 0.0

    def add(self, amount: float, now: float) -> None:
        """Count `amount`."""
        self._total = self.used(now) + amount

    def correct(self, change: float, since: float, now: float) -> None:
        """What was counted at `since` was so much more, or less, which matters only on the same day."""
        if change >= 0 or int(since) // DAY == int(now) // DAY:
            self.add(change, now)

    def used(self, now: float) -> float:
        """On this day."""
        if (day := int(now) // DAY) > self.day:
            self.day, self._total = day, 0.0
        return self._total

    def seconds_until(self, _: float, now: float) -> float:
        """How long until midnight."""
        return DAY - now % DAY

    def seconds_until_none(self, now: float) -> float:
        """The same."""
        return DAY - now % DAY


class Nothing:
    """What is only counted while it lasts: the requests under way."""

    __slots__ = ()

    def add(self, amount: float, now: float) -> None:
        """Count nothing."""

    def correct(self, change: float, since: float, now: float) -> None:
        """Nothing was counted."""

    def used(self, _: float) -> float:
        """None."""
        return 0.0

    def seconds_until(self, *_: float) -> float:
        """Nobody knows when a request ends; soon is worth a try."""
        return 1.0

    def seconds_until_none(self, _: float) -> float:
        """The same."""
        return 1.0
