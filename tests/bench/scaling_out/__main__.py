"""Makes the table and the picture of docs/scaling-out.md: `python -m tests.bench.scaling_out [FOLDER]`; minutes."""

import sys
from pathlib import Path

from tests.bench.scaling_out.load import Fleet
from tests.bench.scaling_out.picture import compare, drawn, figures

PROFILE = ((3.0, 0.7), (3.0, 0.97), (2.0, 1.3), (4.0, 0.7))
FLEETS = (Fleet(3, 100, 8), Fleet(10, 1000, 4), Fleet(100, 10_000, 1))
_COLUMNS = ("requests", "ideal_mean", "moved_mean", "divided_mean", "ideal_p99", "moved_p99", "divided_p99")
_MORE = ("least_replica_mean", "most_replica_mean", "extra_messages_per_request")


def main(folder: Path) -> None:
    """Print a line for each fleet, even and skewed, and draw the largest even one."""
    print("| replicas x workers x slots | arrivals |", " | ".join((*_COLUMNS, *_MORE)).replace("_", " "), "|")  # noqa: T201
    for fleet in FLEETS:
        for skew in (0.0, 0.5):
            found = compare(fleet, PROFILE, skew=skew)
            values = figures(found)
            cells = [
                f"{values[name]:.3f}" if name != "requests" else f"{values[name]:,}" for name in (*_COLUMNS, *_MORE)
            ]
            size = f"{fleet.replicas} x {fleet.workers:,} x {fleet.slots}"
            print(f"| {size} | {'half to a tenth' if skew else 'even'} | {' | '.join(cells)} |", flush=True)  # noqa: T201
            if fleet is FLEETS[-1] and not skew:
                title = f"{fleet.replicas} queue replicas and {fleet.workers:,} workers"
                (folder / "scaling-out.svg").write_text(drawn(found, title), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("docs/scaling"))
