"""Looks after a running engine: asks its `/health` and its metrics again and again (what follows: `watchdog`)."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import aiohttp

from headrace_worker.watchdog import Sign, Watch, hung, seen

EVERY_S = 5.0
TIMEOUT_S = 5.0


async def answers(session: aiohttp.ClientSession, base_url: str) -> bool:
    """Ask the engine's `/health` once."""
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    try:
        async with session.get(f"{base_url}/health", timeout=timeout) as response:
            return response.status == 200
    except (aiohttp.ClientError, ConnectionError, TimeoutError):
        return False


async def metrics(session: aiohttp.ClientSession, url: str, prefix: str | tuple[str, ...]) -> str | None:
    """What the engine counts of its own work: the lines of its metrics that begin with `prefix`; None without answer.

    The rest, a process's CPU time for one, moves in an engine that hangs too.
    """
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    try:
        async with session.get(url, timeout=timeout) as response:
            text = await response.text(errors="replace")
    except (aiohttp.ClientError, ConnectionError, TimeoutError):
        return None
    if response.status != 200:
        return None
    return "\n".join(line for line in text.splitlines() if line.startswith(prefix))


async def until_hung(look: Callable[[Watch], Awaitable[Sign]], note: Callable[[bool], None], longest_s: float) -> str:
    """Look again and again, and return once the engine must be given up, with the reason in words.

    `look` sees one sign of the engine, `note` is told whether it is healthy, `longest_s` is that of `watchdog.hung`.
    """
    now = time.monotonic()
    watch = Watch(seen_at=now, alive_at=now, moved_at=now)
    while (reason := hung(watch, longest_s)) is None:
        await asyncio.sleep(EVERY_S)
        watch = seen(watch, await look(watch))
        note(watch.healthy)
    return reason
