"""Fetches files into a folder: many ranges at a time, resumed after a kill, each file checked at the end."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import structlog

from headrace_worker.store import verify
from headrace_worker.store.errors import AttemptError, StoreError
from headrace_worker.store.files import RemoteFile
from headrace_worker.store.partial import Partial
from headrace_worker.store.progress import Tracker
from headrace_worker.store.settings import StoreSettings
from headrace_worker.store.source import Remote
from headrace_worker.store.threads import Threads

_TIMES = 3
"""How often a file is fetched whose content is wrong."""

log = structlog.get_logger()


class Download:
    """The download of some files from one place."""

    def __init__(self, remote: Remote, settings: StoreSettings, tracker: Tracker) -> None:
        self._remote = remote
        self._settings = settings
        self._tracker = tracker
        self._places = asyncio.Semaphore(settings.parallel)
        self._turn = asyncio.Lock()
        """One file after the other asks for its ranges, so that the first is checked while the next still comes."""
        self._threads = Threads(settings.parallel)
        self._hashing = ThreadPoolExecutor(max_workers=os.cpu_count() or 1, thread_name_prefix="hash")

    async def run(self, partials: list[Partial]) -> None:
        """Fetch all that is missing; returns when every file is complete and verified.

        Raises:
            StoreError: a file cannot be had, or is wrong however often it is fetched.
        """
        try:
            async with asyncio.TaskGroup() as group:
                for partial in partials:
                    if not partial.state.verified:
                        group.create_task(self._file(partial))
        except* StoreError as errors:
            raise _first(errors) from None
        finally:
            await self._threads.close()
            self._hashing.shutdown(wait=True, cancel_futures=True)

    async def _file(self, partial: Partial) -> None:
        wrong: list[str] = []
        while True:
            await self._fetch(partial)
            verdict = await self._verify(partial)
            if verdict.right or _believed(partial, verdict.found, wrong):
                partial.mark_verified()
                return
            wrong.append(verdict.found)
            if len(wrong) == _TIMES:
                raise StoreError(
                    f"{self._remote.where}/{partial.file.name}: checksum mismatch: its source says "
                    f"{partial.told}, its content is {verdict.found}, after {_TIMES} downloads; upload the file again"
                )
            log.warning("a file is not what its source says: fetching it again", file=partial.file.name)
            self._tracker.add(-partial.file.size, partial.file.name)
            partial.start_anew()

    async def _fetch(self, partial: Partial) -> None:
        try:
            async with asyncio.TaskGroup() as group, self._turn:
                for number in partial.missing():
                    await self._places.acquire()
                    group.create_task(self._chunk(partial, number))
        except* AttemptError as errors:
            raise self._explained(partial.file, _first(errors)) from errors
        except* OSError as errors:
            raise StoreError(f"{partial.path}: cannot be written: {_first(errors)}") from errors

    async def _chunk(self, partial: Partial, number: int) -> None:
        try:
            start, end = partial.span(number)
            chunk = partial.open(number)
            await self._remote.copy(partial.file, start, end, chunk, self._threads)
            partial.note(number, chunk)
        finally:
            self._places.release()
        self._tracker.add(end - start, partial.file.name)

    async def _verify(self, partial: Partial) -> verify.Verdict:
        if partial.is_right_already():
            return verify.Verdict(right=True)
        return await asyncio.to_thread(verify.verify, partial.path, partial.check, self._hashing)

    def _explained(self, file: RemoteFile, error: AttemptError) -> StoreError:
        where = f"{self._remote.where}/{file.name}"
        if error.kind == "changed":
            return StoreError(f"{where}: it was changed while it was fetched; start again")
        return StoreError(f"{where}: cannot be fetched: {error}")


def _believed(partial: Partial, found: str, before: list[str]) -> bool:
    """Whether a file may be right although its ETag is not the hash of its content."""
    if partial.check.algorithm != "parts" or found not in before:
        return False
    log.warning("the ETag's parts have an unknown size; two downloads are equal", file=partial.file.name)
    return True


def _first(errors: BaseExceptionGroup[Any]) -> Any:
    found = errors.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found
