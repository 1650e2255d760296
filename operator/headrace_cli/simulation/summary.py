"""The figures of a simulation, as a table for people and as data for programs."""

import math
from collections.abc import Sequence

from headrace_cli.simulation.run import Outcome

Figures = dict[str, float | int]


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` (0 to 1) of the sorted `values` do not exceed; 0 of none."""
    return values[max(0, math.ceil(share * len(values)) - 1)] if values else 0.0


def figures(outcome: Outcome, gpus: int, slots: int) -> Figures:
    """What to compare policies by; times in seconds."""
    waits = sorted(wait for _, wait in outcome.waits)
    busy = outcome.worker_seconds * slots
    return {
        "requests": len(waits),
        "hours": outcome.seconds / 3600,
        "replica_hours": outcome.worker_seconds / 3600,
        "gpu_hours": outcome.worker_seconds * gpus / 3600,
        "most_replicas": max(state.desired for state in outcome.states),
        "scale_changes": len(outcome.decisions),
        "cold_starts": outcome.cold_starts,
        "wait_p50_s": percentile(waits, 0.5),
        "wait_p95_s": percentile(waits, 0.95),
        "wait_p99_s": percentile(waits, 0.99),
        "wait_max_s": percentile(waits, 1.0),
        "slots_used": outcome.work_seconds / busy if busy else 0.0,
    }


def table(found: Figures) -> str:
    """The figures in lines."""
    waits = ", ".join(f"{name} {found[f'wait_{name}_s']:.1f} s" for name in ("p50", "p95", "p99", "max"))
    rows = [
        ("requests", f"{found['requests']} in {found['hours']:.2f} h"),
        ("waiting", waits),
        ("GPU-hours", f"{found['gpu_hours']:.2f} ({found['replica_hours']:.2f} replica-hours)"),
        ("replicas", f"{found['most_replicas']} at most, {found['scale_changes']} changes"),
        ("cold starts", f"{found['cold_starts']} (from no worker at all)"),
        ("slots in use", f"{100 * found['slots_used']:.0f} %"),
    ]
    width = max(len(name) for name, _ in rows)
    return "".join(f"{name.ljust(width)}  {text}\n" for name, text in rows)
