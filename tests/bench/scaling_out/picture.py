"""Figures and picture of a comparison."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from headrace_cli.simulation.chart import Panel, Points, Series, svg
from tests.bench.scaling_out.load import Fleet, Profile, Request, ideal, requests
from tests.bench.scaling_out.simulate import Outcome, Simulation

_COLUMN_S = 0.25
_IDEAL, _MOVED, _DIVIDED = "#1b4965", "#7fb069", "#d1495b"


@dataclass(frozen=True)
class Comparison:
    """One load, served in three ways."""

    fleet: Fleet
    asked: Sequence[Request]
    ideal: Sequence[float]
    """Waits in one ideal queue."""
    moved: Outcome
    """Of replicas between which workers move credits."""
    divided: Outcome
    """Of replicas that each keep their part of every worker."""


def compare(fleet: Fleet, profile: Profile, seed: int = 1, skew: float = 0.0) -> Comparison:
    """Play all three."""
    asked = requests(fleet, profile, seed, skew)
    moved = Simulation(fleet, asked).run()
    return Comparison(fleet, asked, ideal(fleet, asked), moved, Simulation(fleet, asked, moving=False).run())


def figures(found: Comparison) -> dict[str, float]:
    """Seconds of waiting, how far replicas differ, and messages."""
    ways = {"ideal": found.ideal, "moved": found.moved.waits, "divided": found.divided.waits}
    table = {f"{way}_mean": fmean(waits) for way, waits in ways.items()}
    table |= {f"{way}_p99": share(waits, 0.99) for way, waits in ways.items()}
    by_replica = _by([one.replica for one in found.asked], found.moved.waits)
    means = [fmean(waits) for waits in by_replica.values()]
    messages = found.moved.messages
    extra = sum(messages[kind] for kind in ("Demand", "Recall", "Returned"))
    return table | {
        "requests": len(found.asked),
        "least_replica_mean": min(means),
        "most_replica_mean": max(means),
        "extra_messages_per_request": extra / len(found.asked),
    }


def share(waits: Sequence[float], part: float) -> float:
    """The wait that so many of them do not exceed."""
    return sorted(waits)[min(len(waits) - 1, int(len(waits) * part))]


def drawn(found: Comparison, title: str) -> str:
    """The SVG: waits over the time of arrival."""
    seconds = found.asked[-1].came
    came = [one.came for one in found.asked]
    lines = (
        ("slots divided for good", _DIVIDED, found.divided.waits),
        ("credits move", _MOVED, found.moved.waits),
        ("one ideal queue", _IDEAL, found.ideal),
    )
    panels = [
        Panel(
            f"{name}, by when the request came (seconds)",
            [Series(line, colour, _over_time(came, waits, part)) for line, colour, waits in lines],
        )
        for name, part in (("Wait, median", 0.5), ("Wait, 99th percentile", 0.99))
    ]
    arrivals = [(when, len(some) / _COLUMN_S / found.fleet.per_second) for when, some in _columns(came, came)]
    panels.insert(
        0, Panel("Requests, as a share of what the workers can do", [Series("asked", _IDEAL, arrivals, True)])
    )
    return svg(title, panels, seconds)


def _over_time(came: Sequence[float], waits: Sequence[float], part: float) -> Points:
    return [(when, share(some, part)) for when, some in _columns(came, waits)]


def _columns(came: Sequence[float], values: Sequence[float]) -> list[tuple[float, list[float]]]:
    by_column = _by([int(when / _COLUMN_S) for when in came], values)
    return [(column * _COLUMN_S, some) for column, some in sorted(by_column.items())]


def _by(keys: Sequence[int], values: Sequence[float]) -> dict[int, list[float]]:
    found: dict[int, list[float]] = {}
    for key, value in zip(keys, values, strict=True):
        found.setdefault(key, []).append(value)
    return found
