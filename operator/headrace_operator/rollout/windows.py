"""Maintenance windows: whether one is open at a moment, and when the next one opens."""

from collections.abc import Iterable, Iterator
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from headrace_api.inference_model import MaintenanceWindow

_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_LONGEST_DAYS = 8
"""A window lasts a week at most; one that is open now began in this many days."""


def is_open(windows: Iterable[MaintenanceWindow], now: datetime) -> bool:
    """Whether `now`, which has a time zone, is in one of the windows."""
    return any(begin <= now < end for window in windows for begin, end in _times(window, now))


def next_opening(windows: Iterable[MaintenanceWindow], now: datetime) -> datetime | None:
    """The first moment after `now` at which a window opens; None when there is no window."""
    return min((begin for window in windows for begin, _ in _times(window, now) if begin > now), default=None)


def _times(window: MaintenanceWindow, now: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Beginning and end, around `now`; the length is of time that passes, also where clocks are changed."""
    try:
        zone = ZoneInfo(window.time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # refused by the rules; here it never opens
        return
    start = time.fromisoformat(window.start)
    today = now.astimezone(zone).date()
    for offset in range(-_LONGEST_DAYS, _LONGEST_DAYS + 1):
        day = today + timedelta(days=offset)
        if not window.days or _WEEKDAYS[day.weekday()] in window.days:
            begin = datetime.combine(day, start, zone).astimezone(now.tzinfo)
            yield begin, begin + timedelta(minutes=window.duration_minutes)
