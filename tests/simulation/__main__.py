"""`python -m tests.simulation SEED`: runs a seed again, shows every step, and makes a run that fails smaller."""

import sys

from tests.simulation.check import failure_of, shrunk, silent_worker
from tests.simulation.plan import draw


def main() -> int:
    with silent_worker():
        return replay(int(sys.argv[1]))


def say(line: str) -> None:
    sys.stdout.write(line + "\n")


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
