"""Runs seeds again.

`python -m tests.simulation SEED` shows every step of one, made smaller if it fails; with FIRST and LAST, all between
them, and those that fail.
"""

import sys

from tests.simulation.check import failure_of, failures, shrunk, silent_worker
from tests.simulation.plan import draw


def main() -> int:
    first, *last = map(int, sys.argv[1:])
    if last:
        return many(first, last[0])
    with silent_worker():
        return replay(first)


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def many(first: int, last: int) -> int:
    found = 0
    for seed, failure in failures(first, last - first + 1):
        found += 1
        say(f"{seed}: {failure.splitlines()[-1]}")
    say(f"{found} of {last - first + 1} seeds fail")
    return 1 if found else 0


def replay(seed: int) -> int:
    plan = draw(seed)
    failure = failure_of(plan)
    if failure:
        plan = shrunk(plan)
    say(plan.describe())
    failure = failure_of(plan, say)
    say(failure or "nothing is wrong")
    return 1 if failure else 0


if __name__ == "__main__":
    sys.exit(main())
