"""Maintenance windows: open or not, and when next, also where clocks are changed."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace_api.inference_model import MaintenanceWindow
from headrace_operator.rollout.windows import is_open, next_opening


def window(start="22:00", minutes=120, days=(), zone="UTC"):
    return MaintenanceWindow(days=list(days), start=start, duration_minutes=minutes, time_zone=zone)


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("moment", "opened"),
    [
        ("2026-01-07T21:59:59", False),
        ("2026-01-07T22:00:00", True),
        ("2026-01-07T23:59:59", True),  # Wednesday
        ("2026-01-08T00:00:00", False),
        ("2026-01-08T22:30:00", False),
    ],
)
def test_a_window_of_one_weekday(moment, opened):
    assert is_open([window(days=["Wed"])], at(moment)) is opened


@pytest.mark.parametrize(
    ("moment", "opened"), [("2026-01-11T00:30:00", True), ("2026-01-11T02:30:00", False), ("2026-01-10T23:30:00", True)]
)
def test_a_window_reaches_into_the_next_day(moment, opened):
    assert is_open([window(start="23:00", minutes=180, days=["Sat"])], at(moment)) is opened


@pytest.mark.parametrize(
    ("day", "opening"),
    [
        ("2026-01-07T12:00:00", "2026-01-07T21:00:00"),  # winter: one hour before UTC
        ("2026-07-07T12:00:00", "2026-07-07T20:00:00"),  # summer: two
    ],
)
def test_the_start_is_in_the_windows_time_zone(day, opening):
    assert next_opening([window(zone="Europe/Berlin")], at(day)) == at(opening)


def test_a_start_that_the_clocks_skip_or_repeat_opens_once_for_its_whole_length():
    for day, hours in (("2026-03-28", 24), ("2026-10-24", 24)):
        night = window(start="02:30", minutes=60, zone="Europe/Berlin")
        begin = next_opening([night], at(f"{day}T12:00:00"))
        assert is_open([night], begin)
        assert is_open([night], begin + timedelta(minutes=59))
        assert not is_open([night], begin + timedelta(minutes=60))
        assert next_opening([night], begin) - begin >= timedelta(hours=hours - 1)


def test_a_window_of_a_whole_week_is_always_open():
    always = window(days=["Mon"], minutes=10080)
    assert all(is_open([always], at("2026-01-05T00:00:00") + timedelta(hours=hour)) for hour in range(24 * 8))


def test_no_window_never_opens():
    assert not is_open([], at("2026-01-07T12:00:00"))
    assert next_opening([], at("2026-01-07T12:00:00")) is None


DAYS = st.lists(st.sampled_from(["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]), max_size=3)
WINDOWS = st.builds(
    window,
    start=st.builds("{:02d}:{:02d}".format, st.integers(0, 23), st.integers(0, 59)),
    minutes=st.integers(1, 10080),
    days=DAYS,
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Kiritimati"]),
)


@given(st.lists(WINDOWS, min_size=1, max_size=3), st.integers(0, 365 * 24 * 60))
def test_at_the_next_opening_a_window_is_open_and_not_before_it_closes(some, minutes):
    now = at("2026-01-01T00:00:00") + timedelta(minutes=minutes, seconds=7)
    begin = next_opening(some, now)
    assert now < begin <= now + timedelta(days=8)
    assert is_open(some, begin)
    if not is_open(some, now):
        between = now + (begin - now) / 2
        assert not is_open(some, between)
