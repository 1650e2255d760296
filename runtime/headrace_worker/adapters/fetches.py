"""Adapters on their way onto this machine, each by itself: one whose source does not answer holds up no other."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Protocol

import structlog

from headrace_api.worker_config import Adapter
from headrace_worker.adapters.look import AdapterError, Here, look
from headrace_worker.status import Progress

_SHOWN_S = 0.5

log = structlog.get_logger()


class Local(Protocol):
    """Something that is on this machine, and stays until it is closed."""

    @property
    def path(self) -> Path:
        """Where."""

    def close(self) -> None:
        """Let go of it: nobody uses it any more."""


class FetchAdapter(Protocol):
    """Brings a source (a path, a Hugging Face id, s3://, gs://) onto this machine."""

    async def __call__(self, source: str, progress: Callable[[Progress], None], /) -> Local:
        """Fetch it, or say what is there already.

        Raises:
            AdapterError: it cannot be had.
        """


class Fetches:
    """The fetches of one worker."""

    def __init__(self, fetch: FetchAdapter, engine: str) -> None:
        self._fetch = fetch
        self._engine = engine
        self._tasks: dict[Adapter, asyncio.Task[Here | AdapterError]] = {}
        self._progress: dict[Adapter, Progress] = {}

    def follow(self, wanted: Collection[Adapter]) -> None:
        """Fetch these, and no others any more."""
        for adapter in self._tasks.keys() - set(wanted):
            self._drop(adapter)
        for adapter in wanted:
            if adapter not in self._tasks:
                self._tasks[adapter] = asyncio.create_task(self._here(adapter))

    def ended(self) -> Iterator[tuple[Adapter, Here | AdapterError]]:
        """Hand over those that are here, or cannot be had."""
        for adapter in [one for one, task in self._tasks.items() if task.done()]:
            self._progress.pop(adapter, None)
            yield adapter, self._tasks.pop(adapter).result()

    async def until_one_ended(self, seconds: float) -> None:
        """Wait for one to be handed over, for so long at most."""
        if not self._tasks:
            await asyncio.sleep(seconds)
            return
        await asyncio.wait(self._tasks.values(), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)

    async def until_all_ended(self, patience_s: float, show: Callable[[Progress], None]) -> None:
        """Wait for all, as long as a byte of any of them comes within `patience_s` seconds."""
        done_bytes, since = self._shown().done_bytes, time.monotonic()
        while under_way := [task for task in self._tasks.values() if not task.done()]:
            show(now := self._shown())
            if now.done_bytes != done_bytes:
                done_bytes, since = now.done_bytes, time.monotonic()
            if (left_s := since + patience_s - time.monotonic()) <= 0:
                return
            await asyncio.wait(under_way, timeout=min(left_s, _SHOWN_S))

    async def close(self) -> list[Adapter]:
        """Stop them; returns those that were not handed over."""
        dropped = list(self._tasks)
        tasks = [self._drop(adapter) for adapter in dropped]
        await asyncio.gather(*tasks, return_exceptions=True)
        return dropped

    def _drop(self, adapter: Adapter) -> asyncio.Task[Here | AdapterError]:
        self._progress.pop(adapter, None)
        task = self._tasks.pop(adapter)
        task.cancel()
        task.add_done_callback(_let_go)
        return task

    async def _here(self, adapter: Adapter) -> Here | AdapterError:
        try:
            local = await self._fetch(adapter.source, lambda now: self._note(adapter, now))
        except AdapterError as error:
            return error
        except Exception as error:
            log.exception("an adapter cannot be fetched", adapter=adapter.name, source=adapter.source)
            return AdapterError(f"{type(error).__name__}: {error}")
        try:
            return look(adapter, local.path, self._engine, local.close)
        except AdapterError as error:
            local.close()
            return error

    def _note(self, adapter: Adapter, now: Progress) -> None:
        if adapter in self._tasks:
            self._progress[adapter] = now

    def _shown(self) -> Progress:
        """How far all are together, and which are missing."""
        missing = ", ".join(adapter.name for adapter, task in self._tasks.items() if not task.done())
        found = list(self._progress.values())
        totals = [one.total_bytes for one in found if one.total_bytes is not None]
        return Progress(f"adapters: {missing}", sum(one.done_bytes or 0 for one in found) or None, sum(totals) or None)


def _let_go(task: asyncio.Task[Here | AdapterError]) -> None:
    """Of what is not wanted any more when it comes."""
    with contextlib.suppress(asyncio.CancelledError):
        if isinstance(found := task.result(), Here):
            found.close()
