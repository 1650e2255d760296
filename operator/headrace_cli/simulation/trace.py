"""Reads a trace: a CSV file with a header, one row per request or one per period with a count."""

import csv
import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from headrace_cli.errors import FAILED, Trouble
from headrace_cli.sources import Source

_ACCEPTED = (
    "accepted: time_s (seconds, never falling), and if wanted requests (how many come from then until the next row, "
    "evenly; one per row when absent) and duration_s (seconds that a worker computes each)"
)
_MOST = 10_000_000
"""Requests of a trace; more would not fit into memory."""


@dataclass(frozen=True)
class Arrival:
    """One request."""

    time: float
    """Seconds since the trace began."""
    duration: float
    """Seconds that a worker computes it."""


@dataclass(frozen=True)
class Trace:
    """All requests, by time, and how long the trace lasts, in seconds."""

    arrivals: Sequence[Arrival]
    seconds: float


@dataclass(frozen=True)
class _Row:
    line: int
    time: float
    requests: int | None
    duration: float


def read_trace(source: Source, service_time: float) -> Trace:
    """The trace in a CSV text.

    Args:
        source: the text.
        service_time: the duration of requests for which the file states none, in seconds.

    Raises:
        Trouble: it is no such file; the message names line, column, value and what is accepted.
    """
    rows = list(_rows(source, service_time))
    if not rows:
        raise Trouble(f"{source.file}: no rows below the header; {_ACCEPTED}", FAILED)
    for before, after in pairwise(rows):
        if after.time < before.time:
            words = f"time_s: {after.time:g} comes before the {before.time:g} of the row above"
            raise Trouble(f"{source.file}:{after.line}: {words}; {_ACCEPTED}", FAILED)
    if (count := sum(1 if row.requests is None else row.requests for row in rows)) > _MOST:
        raise Trouble(f"{source.file}: {count} requests are more than {_MOST}: take a part of the trace", FAILED)
    spans = [after.time - before.time for before, after in pairwise(rows)]
    last = spans[-1] if spans and rows[0].requests is not None else 0.0
    arrivals = [one for row, span in zip(rows, [*spans, last], strict=True) for one in _spread(row, span)]
    return Trace(arrivals, rows[-1].time + last)


def _spread(row: _Row, span: float) -> Iterator[Arrival]:
    number = 1 if row.requests is None else row.requests
    for index in range(number):
        yield Arrival(row.time + span * index / number if row.requests is not None else row.time, row.duration)


def _rows(source: Source, service_time: float) -> Iterator[_Row]:
    reader = csv.DictReader(io.StringIO(source.text), skipinitialspace=True)
    header = [name.strip() for name in reader.fieldnames or ()]
    reader.fieldnames = header
    if "time_s" not in header or (unknown := [name for name in header if name not in _KINDS]):
        what = f"unknown column {unknown[0]!r}" if "time_s" in header else "no column time_s"
        raise Trouble(f"{source.file}:1: {what}; {_ACCEPTED}", FAILED)
    for cells in reader:
        place = f"{source.file}:{reader.line_num}"
        if reader.restkey in cells:
            raise Trouble(f"{place}: more cells than the header has; {_ACCEPTED}", FAILED)
        yield _Row(
            reader.line_num,
            _number(place, cells, "time_s"),
            int(_number(place, cells, "requests")) if "requests" in header else None,
            _number(place, cells, "duration_s") if "duration_s" in header else service_time,
        )


_KINDS: dict[str, tuple[str, Callable[[float], bool]]] = {
    "time_s": ("a number from 0 on", lambda value: value >= 0),
    "requests": ("a whole number from 0 on", lambda value: value >= 0 and value.is_integer()),
    "duration_s": ("a number above 0", lambda value: value > 0),
}


def _number(place: str, cells: dict[str, str | None], column: str) -> float:
    text = (cells[column] or "").strip()
    words, is_accepted = _KINDS[column]
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isfinite(value) and is_accepted(value):
        return value
    raise Trouble(f"{place}: {column}: {text!r:.60} is not {words}; {_ACCEPTED}", FAILED)
