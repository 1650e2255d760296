"""Tells an engine that hangs from one that is busy."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import aiohttp

EVERY_S = 5.0
TIMEOUT_S = 5.0
HUNG_AFTER = 6
"""So many failed checks in a row: 30 s when they fail at once, 60 s when each of them times out."""


async def answers(session: aiohttp.ClientSession, base_url: str) -> bool:
    """Ask the engine's `/health` once."""
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    try:
        async with session.get(f"{base_url}/health", timeout=timeout) as response:
            return response.status == 200
    except (aiohttp.ClientError, ConnectionError, TimeoutError):
        return False


async def until_hung(
    check: Callable[[], Awaitable[bool]], heard_at: Callable[[], float], note: Callable[[bool], None]
) -> float:
    """Check again and again, and return once the engine must be given up: the seconds since its last sign of life.

    `heard_at` is when anything last came from the engine (on the monotonic clock): an engine that is too busy to answer
    a check but gets on with its work is alive. `note` is told the outcome of every check.
    """
    alive_at, failures = time.monotonic(), 0
    while failures < HUNG_AFTER:
        began = time.monotonic()
        await asyncio.sleep(EVERY_S)
        if await check() or heard_at() >= began:
            alive_at, failures = time.monotonic(), 0
        else:
            failures += 1
        note(failures == 0)
    return time.monotonic() - alive_at
