"""Brings the files of one place into the cache, or into a folder: lock, look, make room, download, land."""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from headrace_worker.store import cache, durable, foreign, locks, manifest
from headrace_worker.store.download import Download
from headrace_worker.store.errors import StoreError
from headrace_worker.store.files import RemoteFile
from headrace_worker.store.layout import Places
from headrace_worker.store.manifest import Manifest
from headrace_worker.store.partial import Partial
from headrace_worker.store.progress import Progress, Tracker
from headrace_worker.store.settings import StoreSettings
from headrace_worker.store.snapshot import Listed, Step, step_for
from headrace_worker.store.source import Remote

_TOLD_S = 1.0

log = structlog.get_logger()


class Fetching:
    """One model, while this worker is the one that fetches it."""

    def __init__(self, remote: Remote, places: Places, settings: StoreSettings, tracker: Tracker) -> None:
        self._remote = remote
        self._places = places
        self._settings = settings
        self._tracker = tracker

    async def snapshot(self, listed: Listed) -> tuple[Path, locks.Lock | None]:
        """The complete snapshot, and the lock that keeps it from being evicted, where locking is possible.

        Raises:
            StoreError: it cannot be had.
        """
        if not foreign.writable(self._places.own):
            return await self._as_it_is(listed)
        step, lock = await self._decide(listed)
        try:
            if step.does == "make":
                await self._make(listed, step)
            elif step.does == "add":
                await self._add(listed, step)
            else:
                size = sum(file.size for file in listed.files)
                self._tracker.set(Progress(size, size, detail="it is in the cache"))
            await asyncio.to_thread(cache.refer, self._places, step.name, listed.revision)
            durable.settle_later(self._places, step.name, self._settings.sync_after_s)
        except BaseException:
            lock.close()
            raise
        return self._places.snapshot(step.name), lock

    async def _as_it_is(self, listed: Listed) -> tuple[Path, locks.Lock | None]:
        """The snapshot in a cache that may not be written, if nothing has to be."""
        lock = await locks.shared_if_possible(self._places.use(listed.name))
        known = await asyncio.to_thread(self._known, listed.name, listed)
        if step_for(listed, listed.name, known, held=False).does == "reuse":
            return self._places.snapshot(listed.name), lock
        if lock:
            lock.close()
        raise StoreError(
            f"{self._places.cache}: the model cache cannot be written, and does not have all of {listed.source}; let "
            "this user write there, fill it beforehand, or name another folder in HF_HUB_CACHE"
        )

    async def _decide(self, listed: Listed) -> tuple[Step, locks.Lock]:
        """Hold first, then look: what is held is not evicted. Nobody begins to serve from it meanwhile: we fetch."""
        name = listed.name
        while True:
            alone = locks.Lock.exclusive(self._places.use(name))
            if alone:
                alone.close()
            lock = await locks.shared(self._places.use(name))
            known = await asyncio.to_thread(self._known, name, listed)
            step = step_for(listed, name, known, held=alone is None)
            if step.name == name:
                return step, lock
            log.info("another worker serves from the snapshot, and its files have changed", old=name, new=step.name)
            lock.close()
            name = step.name

    def _known(self, name: str, listed: Listed) -> Manifest | None:
        """What a snapshot has. One without a manifest was made by another program: its files are checked."""
        folder = self._places.snapshot(name)
        if not folder.is_dir():
            return None
        found = manifest.read(self._places.manifest(name))
        if found:
            return durable.intact(self._places, name, found)
        there = tuple(file for file in listed.files if _is(folder / file.name, file))
        adopted = Manifest(listed.source, there, durable.boot())
        with foreign.tolerated():
            manifest.write(self._places.manifest(name), adopted)
        return adopted

    async def _make(self, listed: Listed, step: Step) -> None:
        staged = self._places.partial / "files"
        files = await self._described(step.files)
        partials = self._partials(files, staged)
        old = manifest.read(self._places.manifest(listed.name))
        if old:
            await asyncio.to_thread(_take_over, partials, old, self._places.snapshot(listed.name))
        await self._download(partials)
        content = Manifest(listed.source, tuple(files), durable.boot())
        await asyncio.to_thread(cache.land, self._places, step.name, staged, content)

    async def _add(self, listed: Listed, step: Step) -> None:
        staged = self._places.partial / "files"
        files = await self._described(step.files)
        await self._download(self._partials(files, staged))
        added = Manifest(listed.source, tuple(files), durable.boot())
        await asyncio.to_thread(cache.add, self._places, step.name, staged, added)

    async def folder(self, listed: Listed, destination: Path) -> None:
        """The files in a folder outside the cache, each put there by a rename.

        Raises:
            StoreError: they cannot be had.
        """
        staged = self._places.partial / "files"
        before = manifest.read(self._places.record)
        missing = [file for file in listed.files if not (before and before.has(file) and _sized(destination, file))]
        if not missing:
            return
        await self._download(self._partials(await self._described(missing), staged))
        await asyncio.to_thread(durable.sync, [staged / file.name for file in missing])
        await asyncio.to_thread(cache.move_in, staged, destination, missing)
        await asyncio.to_thread(manifest.write, self._places.record, Manifest(listed.source, tuple(listed.files)))
        await asyncio.to_thread(cache.forget, self._places)

    async def _described(self, files: Sequence[RemoteFile]) -> list[RemoteFile]:
        """The files with what their source tells of their content beside the listing."""
        places = asyncio.Semaphore(self._settings.parallel)

        async def one(file: RemoteFile) -> RemoteFile:
            async with places:
                return await self._remote.described(file) if file.size else file

        return await asyncio.gather(*map(one, files))

    def _partials(self, files: Sequence[RemoteFile], folder: Path) -> list[Partial]:
        journals = self._places.partial / "journals"
        return [Partial(file, folder / file.name, journals, self._settings.chunk_bytes) for file in files]

    async def _download(self, partials: list[Partial]) -> None:
        total, done = sum(one.file.size for one in partials), sum(one.done_bytes for one in partials)
        self._tracker.set(Progress(done, total))
        await asyncio.to_thread(cache.make_room, self._places, total - done, self._settings.limit_bytes)
        for partial in partials:
            await asyncio.to_thread(partial.prepare)
        await Download(self._remote, self._settings, self._tracker).run(partials)


def shown_to_others(places: Places, show: Callable[[Progress], None]) -> Callable[[Progress], None]:
    """Write down how far it is, at most once a second, for the workers that wait for this one."""
    told = 0.0

    def both(progress: Progress) -> None:
        nonlocal told
        show(progress)
        now = time.monotonic()
        if now - told >= _TOLD_S:
            told = now
            text = json.dumps({"done": progress.done_bytes, "total": progress.total_bytes, "file": progress.file})
            with foreign.tolerated():
                manifest.replace(places.owner_progress, text)

    return both


def of_other(places: Places) -> Progress:
    """How far the worker is that fetches."""
    detail = "another worker on this node fetches it"
    try:
        found = json.loads(places.owner_progress.read_text())
        return Progress(found["done"], found["total"], found["file"], detail)
    except (OSError, ValueError, KeyError, TypeError):
        return Progress(detail=detail)


def _take_over(partials: list[Partial], old: Manifest, folder: Path) -> None:
    """Files that have not changed since the snapshot that is replaced."""
    for partial in partials:
        path = folder / partial.file.name
        if not partial.state.verified and old.has(partial.file) and _sized(folder, partial.file):
            try:
                partial.take(path)
            except OSError:  # a file system without hard links
                partial.start_anew()


def _sized(folder: Path, file: RemoteFile) -> bool:
    try:
        return (folder / file.name).stat().st_size == file.size
    except OSError:
        return False


def _is(path: Path, file: RemoteFile) -> bool:
    """Whether a file that another program has put there is the one that is wanted."""
    blob = path.is_symlink() and path.resolve().name == file.etag  # of the hub's library, named by its hash
    return (blob and _sized(path.parent, RemoteFile(path.name, file.size))) or durable.is_right(path, file)


def unavailable(source: str, why: object) -> StoreError:
    """The error of a source that cannot be asked."""
    return StoreError(f"{source}: cannot be fetched: {why}")
