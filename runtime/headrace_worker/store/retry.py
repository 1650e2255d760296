"""When a failed attempt is tried again, and how long to wait before: exponential, with full jitter, bounded."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from headrace_worker.store.errors import AttemptError, Kind, StoreError, failure

Done = TypeVar("Done")


@dataclass(frozen=True)
class Retries:
    """How often and how patiently."""

    attempts: int = 8
    """Of one request, the first included."""
    forbidden: int = 4
    """Of those, how many may be answered with 401 or 403."""
    first_s: float = 0.5
    longest_s: float = 20.0

    def waits(self, draw: Callable[[], float]) -> Iterator[float]:
        """Seconds to wait after each failed attempt but the last; `draw` gives numbers from 0 to 1."""
        for number in range(self.attempts - 1):
            yield min(self.longest_s, self.first_s * 2**number) * draw()


def again(kinds: list[Kind], retries: Retries) -> bool:
    """Whether to try again after attempts that failed so, the latest last. Pure."""
    if kinds[-1] not in {"passing", "forbidden"}:
        return False
    return len(kinds) < retries.attempts and kinds.count("forbidden") < retries.forbidden


async def persist(attempt: Callable[[], Awaitable[Done]], retries: Retries) -> Done:
    """Do it, and again as long as `again` says so.

    Raises:
        AttemptError: of the last attempt.
    """
    kinds: list[Kind] = []
    for wait in (*retries.waits(random.random), 0.0):
        try:
            return await attempt()
        except StoreError:  # not about the source: a disk that is full, keys that cannot be had
            raise
        except Exception as error:  # noqa: BLE001 - whatever the library raises is sorted by `failure`
            last = failure(error)
        kinds.append(last.kind)
        if not again(kinds, retries):
            raise last
        await asyncio.sleep(wait)
    raise AttemptError("final", "no attempt was made")
