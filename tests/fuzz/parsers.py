"""Feeds every parser with damaged documents for some minutes; any exception that is not documented ends it.

python -m tests.fuzz.parsers [--seconds 300] [--seed N]
"""

import argparse
import random
import sys
import time
from collections import Counter

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.targets import TARGETS, Target

_ROUND = 200


def feed(target: Target, examples: int, number: int) -> tuple[int, int]:
    """Feed a target some inputs; how many there were, and how many of them were accepted.

    Raises:
        Exception: whatever the target raised, with the smallest input that makes it do so in its notes.
    """
    answers: Counter[bool] = Counter()

    @seed(number)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(target.inputs)
    def once(given_input: object) -> None:
        answers[target.feed(given_input)] += 1

    once()
    return answers.total(), answers[True]


def main() -> int:
    """Fuzz until the time is over; the exit status is 1 when something was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))  # noqa: S311 (no secret)
    options = parser.parse_args()
    end = time.monotonic() + options.seconds
    number = options.seed
    fed: Counter[str] = Counter()
    accepted: Counter[str] = Counter()
    while time.monotonic() < end:
        for name, target in TARGETS.items():
            try:
                inputs, good = feed(target, _ROUND, number)
            except Exception:
                print(f"{name}, --seed {number}:", file=sys.stderr)  # noqa: T201
                raise
            fed[name] += inputs
            accepted[name] += good
        number += 1
    for name in TARGETS:
        print(f"{name}: {fed[name]} inputs, {accepted[name]} accepted")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
