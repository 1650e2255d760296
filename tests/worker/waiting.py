"""Waiting for something that has no event of its own."""

import asyncio
from collections.abc import Callable


async def until(condition: Callable[[], object], seconds: float = 15) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 (what is waited for is another program's doing)
            await asyncio.sleep(0.01)
