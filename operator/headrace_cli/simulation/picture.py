"""The picture of a simulation: replicas, requests and waiting times, one above the other."""

from collections.abc import Iterable, Sequence

from headrace_cli.simulation.chart import Panel, Points, Series, svg
from headrace_cli.simulation.run import Outcome
from headrace_cli.simulation.summary import percentile

_COLUMNS = 480
"""Over how many parts of the time values are summed up: more would be finer than the picture."""


def picture(title: str, outcome: Outcome) -> str:
    """The SVG."""
    seconds = outcome.seconds
    states = outcome.states
    ready = _most([(one.time, one.ready) for one in states], seconds)
    replicas = Panel(
        "Replicas",
        (
            Series("ready", "#7fb069", ready, filled=True),
            Series("asked for", "#1b4965", _steps([(one.time, one.desired) for one in states])),
        ),
    )
    running = _most([(one.time, one.running) for one in states], seconds)
    queued = _most([(one.time, one.queued) for one in states], seconds)
    requests = Panel(
        "Requests",
        (Series("running", "#5fa8d3", running, filled=True), Series("waiting for a worker", "#d1495b", queued)),
    )
    waits = Panel(
        "Time until a worker took a request, in seconds",
        (
            Series("worst", "#d1495b", _shares(outcome.waits, seconds, 1.0), filled=True),
            Series("median", "#1b4965", _shares(outcome.waits, seconds, 0.5)),
        ),
    )
    return svg(title, (replicas, requests, waits), seconds)


def _steps(points: Iterable[tuple[float, float]]) -> Points:
    """Only the points at which the value changes."""
    kept: list[tuple[float, float]] = []
    for time, value in points:
        if not kept or kept[-1][1] != value:
            kept.append((time, value))
    return kept


def _most(points: Sequence[tuple[float, float]], seconds: float) -> Points:
    """The highest value in each part of the time; a value holds until the next point."""
    steps = _steps(points)
    found: list[tuple[float, float]] = []
    at, value = 0, 0.0
    for column in range(_COLUMNS):
        begin, end = seconds * column / _COLUMNS, seconds * (column + 1) / _COLUMNS
        highest = value
        while at < len(steps) and steps[at][0] < end:
            value = steps[at][1]
            highest = value if steps[at][0] <= begin else max(highest, value)
            at += 1
        found.append((begin, highest))
    return _steps(found)


def _shares(waits: Sequence[tuple[float, float]], seconds: float, share: float) -> Points:
    """The waiting time that `share` of the requests of each part of the time did not exceed."""
    columns: dict[int, list[float]] = {}
    for time, wait in waits:
        columns.setdefault(min(_COLUMNS - 1, int(time / seconds * _COLUMNS)) if seconds else 0, []).append(wait)
    return _steps(
        (seconds * column / _COLUMNS, percentile(sorted(columns.get(column, ())), share)) for column in range(_COLUMNS)
    )
