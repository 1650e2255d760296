"""Draws lines and areas over time as SVG: the few elements that a picture of a simulation needs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

Points = Sequence[tuple[float, float]]

_TEXT = "#333"
_GRID = "#e3e3e3"
_STEPS = (1, 2, 5)


@dataclass(frozen=True)
class Series:
    """One line of a panel."""

    name: str
    colour: str
    points: Points
    """Seconds and values, by time; empty when there is nothing to draw."""
    filled: bool = False
    stepped: bool = True
    """Whether a value holds until the next point; else lines join the points."""


@dataclass(frozen=True)
class Panel:
    """A diagram of its own, over the common time."""

    title: str
    series: Sequence[Series]


@dataclass(frozen=True)
class _Box:
    """Where a panel's plot is, in pixels, and what its axes span."""

    left: float
    top: float
    width: float
    height: float
    seconds: float
    most: float

    def x(self, time: float) -> float:
        return self.left + self.width * min(1.0, time / self.seconds)

    def y(self, value: float) -> float:
        return self.top + self.height * (1 - value / self.most)


def svg(title: str, panels: Sequence[Panel], seconds: float, width: int = 960, height: int = 190) -> str:
    """A picture of all panels, one below the other; `height` is that of one."""
    left, top, gap = 62, 64, 58
    total = top + len(panels) * (height + gap)
    body = [f'<text x="{left}" y="26" font-size="17" font-weight="600">{escape(title)}</text>']
    for index, panel in enumerate(panels):
        values = [value for one in panel.series for _, value in one.points]
        most = _ceiling(max(values, default=0.0))
        box = _Box(left, top + index * (height + gap), width - left - 24, height, max(seconds, 1e-9), most)
        body += _panel(panel, box)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{total}" viewBox="0 0 {width} {total}" '
        f'font-family="system-ui, sans-serif" font-size="12" fill="{_TEXT}">\n'
        f'<rect width="{width}" height="{total}" fill="#fff"/>\n' + "\n".join(body) + "\n</svg>\n"
    )


def _panel(panel: Panel, box: _Box) -> Iterable[str]:
    yield f'<text x="{box.left}" y="{box.top - 10}" font-size="13" font-weight="600">{escape(panel.title)}</text>'
    yield from _legend(panel, box)
    for value in _ticks(box.most, 4):
        y = box.y(value)
        yield f'<path d="M{box.left} {y:.1f}h{box.width}" stroke="{_GRID}"/>'
        yield f'<text x="{box.left - 8}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>'
    unit, name = _unit(box.seconds)
    for tick in _ticks(box.seconds / unit, 12):
        x = box.x(tick * unit)
        yield f'<path d="M{x:.1f} {box.top}v{box.height}" stroke="{_GRID}"/>'
        yield f'<text x="{x:.1f}" y="{box.top + box.height + 16}" text-anchor="middle">{tick:g} {name}</text>'
    for one in panel.series:
        if one.points:
            yield _line(one, box)


def _legend(panel: Panel, box: _Box) -> Iterable[str]:
    x, y = box.left + box.width, box.top - 10
    for one in reversed(panel.series):
        x -= 7 * len(one.name) + 30
        yield f'<rect x="{x}" y="{y - 9}" width="12" height="9" fill="{one.colour}"/>'
        yield f'<text x="{x + 17}" y="{y}">{escape(one.name)}</text>'


def _line(series: Series, box: _Box) -> str:
    spots = [(box.x(time), box.y(value)) for time, value in series.points]
    path = f"M{spots[0][0]:.1f} {spots[0][1]:.1f}"
    for (_, before), (x, y) in pairwise(spots):
        path += f"H{x:.1f}" + (f"V{y:.1f}" if y != before else "") if series.stepped else f"L{x:.1f} {y:.1f}"
    if series.stepped:
        path += f"H{box.left + box.width:.1f}"
    if series.filled:
        end = box.left + box.width if series.stepped else spots[-1][0]
        floor = box.top + box.height
        path += f"L{end:.1f} {floor}L{spots[0][0]:.1f} {floor}Z"
        return f'<path d="{path}" fill="{series.colour}" fill-opacity="0.55"/>'
    return f'<path d="{path}" fill="none" stroke="{series.colour}" stroke-width="1.6" stroke-linejoin="round"/>'


def _unit(seconds: float) -> tuple[int, str]:
    if seconds >= 3 * 86400:
        return 86400, "d"
    if seconds >= 3 * 3600:
        return 3600, "h"
    return (60, "min") if seconds >= 180 else (1, "s")


def _ceiling(most: float) -> float:
    """A round number that is at least `most`, for the top of an axis."""
    ticks = _ticks(max(most, 1.0), 4)
    return ticks[-1] if ticks[-1] >= most else ticks[-1] + ticks[1]


def _ticks(most: float, number: int) -> list[float]:
    """Round numbers from 0 to `most`, at most `number` steps."""
    scale = 1e-6
    while True:
        for factor in _STEPS:
            step = factor * scale
            if most / step <= number:
                return [round(index * step, 6) for index in range(int(most / step + 1e-9) + 1)]
        scale *= 10
