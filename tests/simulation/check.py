"""Runs plans and says what is wrong; makes one that fails smaller."""

import contextlib
import logging
import re
import traceback
from collections.abc import Iterator
from dataclasses import replace

import structlog

from tests.simulation.plan import Plan, draw
from tests.simulation.world import Trace, World


def failure_of(plan: Plan, trace: Trace | None = None) -> str | None:
    """What is wrong with a run; None if nothing is."""
    try:
        World(plan, trace).run()
    except Exception:  # noqa: BLE001 - whatever it is, it is found
        return traceback.format_exc(limit=-6)
    return None


@contextlib.contextmanager
def silent_worker() -> Iterator[None]:
    """Without the worker's log lines, which would take most of the time."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)


def failures(first: int, number: int) -> Iterator[tuple[int, str]]:
    """Of these seeds, those that fail, and how."""
    with silent_worker():
        for seed in range(first, first + number):
            if failure := failure_of(draw(seed)):
                yield seed, failure


def shrunk(plan: Plan) -> Plan:
    """A smaller plan that fails in the same way: without what need not be there."""
    kind = _kind(failure_of(plan))
    smaller = True
    while smaller:
        smaller = False
        for candidate in _without_one(plan):
            if _kind(failure_of(candidate)) == kind:
                plan, smaller = candidate, True
                break
    return plan


def _kind(failure: str | None) -> str:
    """How it fails, without its numbers."""
    return re.sub("0x[0-9a-f]+|[0-9]+", "", failure.splitlines()[-1]) if failure else ""


def _without_one(plan: Plan) -> Iterator[Plan]:
    for field, fewest in (("faults", 0), ("clients", 0), ("workers", 1)):  # the first worker has all models
        items = getattr(plan, field)
        for index in range(fewest, len(items)):
            yield replace(plan, **{field: (*items[:index], *items[index + 1 :])})
