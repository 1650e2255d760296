"""The table of one run, and which targets it reaches."""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass

from tests.bench.queue_costs.loads import BURST, CLUMPED, LOADS, ONE, ONE_STREAM, OPEN, PACED, REQUESTS, Kind, Rounds

BOTH = {REQUESTS: 2620.0, CLUMPED: 141_000.0, PACED: 26_000.0}
QUEUE = {REQUESTS: 3930.0, CLUMPED: 282_000.0, PACED: 52_000.0}
"""Per CPU-second: two or one times, and three or two times, what KubeAI's proxy was measured at elsewhere."""
_FIRST_P50_MS, _FIRST_P99_MS = 1.0, 5.0
_OPEN_MIB = 400.0
_GONE_MS = 100.0


@dataclass(frozen=True)
class Line:
    """A figure, and its target where it has one."""

    name: str
    figure: str
    target: str = ""
    reached: bool = True


def throughput(subjects: dict[str, Rounds]) -> Iterator[str]:
    """A row for each subject: its figures, and Headrace's in times of them."""
    ours = subjects["headrace"]
    yield f"{'per CPU-second':26}" + "".join(f"{kind.name + ' (' + kind.unit + ')':>26}" for kind in LOADS)
    for name, rounds in subjects.items():
        parts = [None, "queue", "worker"] if name == "headrace" else [None]
        for part in parts:
            cells = [_cell(rounds, ours, kind, part) for kind in LOADS]
            yield f"{name + (', ' + part + ' alone' if part else ''):26}" + "".join(f"{cell:>26}" for cell in cells)


def _cell(rounds: Rounds, ours: Rounds, kind: Kind, part: str | None) -> str:
    if kind.name not in rounds.taken:
        return "-"
    figure = f"{rounds.figure(kind, part):,.0f}"
    errors = f" ({rounds.errors(kind)} errors)" if rounds.errors(kind) else ""
    if rounds is ours:
        return figure + errors
    return f"{figure}{errors}  {ours.ratio(rounds, kind):.2f}/{ours.ratio(rounds, kind, 'queue'):.2f}"


def lines(subjects: dict[str, Rounds], gone: dict[str, list[float]], memory: dict[str, float]) -> Iterator[Line]:
    """Headrace's figures against their targets."""
    ours = subjects["headrace"]
    for name, targets, part in (("queue + worker", BOTH, None), ("queue alone", QUEUE, "queue")):
        for kind, target in targets.items():
            got = ours.figure(kind, part)
            yield Line(f"{name}, {kind.name}", f"{got:,.0f} {kind.unit}/CPU-s", f">= {target:,.0f}", got >= target)
    yield from _added(subjects)
    for name, ms in gone.items():
        mine = name == "headrace"
        what = f"{name}, from a client's leaving to the engine's hearing"
        yield Line(f"{what}, p50", f"{statistics.median(ms):.2f} ms")
        yield Line(
            f"{what}, most", f"{max(ms):.2f} ms", f"< {_GONE_MS:.0f} ms" if mine else "", max(ms) < _GONE_MS or not mine
        )
    errors = sum(ours.errors(kind) for kind in LOADS)
    yield Line("errors in these loads", str(errors), "0", errors == 0)
    if BURST.name in ours.taken:
        yield Line("1,000 at once: errors", str(ours.errors(BURST)), "0", ours.errors(BURST) == 0)
    if memory:
        yield Line("5,000 open streams: errors", str(ours.errors(OPEN)), "0", ours.errors(OPEN) == 0)
        for name, mib in memory.items():
            yield Line(f"5,000 open streams: {name}", f"{mib:.0f} MiB", f"< {_OPEN_MIB:.0f} MiB", mib < _OPEN_MIB)


def _added(subjects: dict[str, Rounds]) -> Iterator[Line]:
    engine = subjects["engine"]
    for name, rounds in subjects.items():
        for kind in (ONE, ONE_STREAM):
            if name == "engine" or kind.name not in rounds.taken:
                continue
            for percent, target in ((50, _FIRST_P50_MS), (99, _FIRST_P99_MS)):
                ms = rounds.percentile(kind, "first_ms", percent) - engine.percentile(kind, "first_ms", percent)
                what = f"{name} adds, {kind.name}, first byte p{percent}"
                mine = name == "headrace"
                yield Line(what, f"{ms:.2f} ms", f"< {target:.0f} ms" if mine else "", ms < target or not mine)
    for name, rounds in subjects.items():
        if PACED.name in rounds.taken:
            ms = rounds.percentile(PACED, "gaps_ms", 99)
            yield Line(f"{name}, 200 paced streams, between tokens p99", f"{ms:.2f} ms")


def table(subjects: dict[str, Rounds], gone: dict[str, list[float]], memory: dict[str, float]) -> tuple[str, bool]:
    """For people; and whether every target is reached. `gone` is what `leave` found, by subject."""
    found = list(lines(subjects, gone, memory))
    text = [*throughput(subjects), "(peers: headrace's queue + worker / queue alone in times of the peer)", ""]
    text += [
        f"{one.name:60}{one.figure:>24}  {one.target:>12}  {'' if one.reached else 'MISSED'}".rstrip() for one in found
    ]
    return "\n".join(text) + "\n", all(one.reached for one in found)
