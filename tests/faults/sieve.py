"""Kills the operator around every write of a scenario, and makes its view stale at every event: after Sieve (OSDI '22).

The scenario is lived again and again. In life `n` the fault strikes at the n-th write (or event) of each operation; it
ends with the first life in which nothing struck.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from tests.faults import oracle
from tests.faults.lane import Lane
from tests.faults.misbehaviour import RequestFault, WatchFault
from tests.faults.scenario import LIFE, Operation

_MOST = 60
"""Writes of one operation; more mean that the operator does not come to rest."""
_QUIET_SECONDS = 0.3
_LAG_SECONDS = 2.0

Strike = Callable[[Lane, int, int], None]
"""Arms the lane's proxy: at which write or event from now, and of which operation, by its place."""


def on_write(*faults: RequestFault) -> Strike:
    """Strike at a write, with the faults in turn."""

    def arm(lane: Lane, number: int, place: int) -> None:
        fault = faults[(number + place) % len(faults)]
        lane.proxy.arm(on_call=lambda call: fault if call.number == number else None)

    return arm


def on_event(*faults: WatchFault) -> Strike:
    """Strike at a watch event, with the faults in turn."""

    def arm(lane: Lane, number: int, place: int) -> None:
        fault = faults[(number + place) % len(faults)]
        lane.proxy.arm(on_event=lambda seen: fault if seen == number else None)

    return arm


@dataclass
class Struck:
    """How often a fault struck, by operation."""

    times: dict[str, int] = field(default_factory=dict)

    def add(self, operation: Operation) -> None:
        """Once more."""
        self.times[operation.name] = self.times.get(operation.name, 0) + 1


async def live(lane: Lane, strike: Strike, numbers: Iterable[int], operations: Sequence[Operation] = LIFE) -> Struck:
    """Live the scenario once for each of `numbers`, until nothing strikes any more; returns what struck."""
    struck = Struck()
    await lane.converged()
    empty = await lane.content()
    for number in numbers:
        assert number < _MOST, "no end of writes"
        before = sum(struck.times.values())
        for place, operation in enumerate(operations):
            strike(lane, number, place)
            await _operate(lane, operation, number, struck)
        left = oracle.content_differences(empty, await lane.content())
        assert not left, f"traces of a life with fault {number}: {left}"
        if before == sum(struck.times.values()):
            break
    return struck


async def _operate(lane: Lane, operation: Operation, number: int, struck: Struck) -> None:
    before = await lane.content()
    try:
        await operation.act(lane)
        await lane.converged()
        while not await lane.quiet(_QUIET_SECONDS):
            await lane.converged()
    except AssertionError as error:
        raise AssertionError(f"{operation.name}, fault at {number}: {error}") from None
    if lane.proxy.fired:
        struck.add(operation)
    lane.proxy.arm()
    if operation.taken_back:
        left = oracle.content_differences(before, await lane.content())
        assert not left, f"{operation.name}, fault at {number}, left: {left}"


async def travel(lane: Lane, stale: Callable[[str], bool], operations: Sequence[Operation] = LIFE) -> None:
    """After each operation restart the operator with lists from before it, as from an API server that lags behind.

    Args:
        lane: where.
        stale: which lists lag, by their path; the others are current.
        operations: what to do.
    """
    lane.proxy.stale_paths = stale
    await lane.converged()
    for operation in operations:
        lane.operator.kill()
        lane.proxy.freeze()
        await lane.converged()
        await operation.act(lane)
        await lane.converged()
        lane.operator.kill()
        lane.proxy.lag_seconds = _LAG_SECONDS
        lane.operator.start()
        await asyncio.sleep(_LAG_SECONDS)
        lane.proxy.thaw()
        try:
            await lane.converged()
        except AssertionError as error:
            raise AssertionError(f"{operation.name}, then lists from before it: {error}") from None
