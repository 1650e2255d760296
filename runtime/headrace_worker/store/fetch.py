"""`fetch`: from a request to a local path. The one door to the store; everything else is behind it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from headrace_worker.engines import gguf
from headrace_worker.store import address, durable, fetching, files, foreign, layout, locks, manifest
from headrace_worker.store.errors import AttemptError, StoreError
from headrace_worker.store.fetching import Fetching
from headrace_worker.store.files import RemoteFile
from headrace_worker.store.layout import Places
from headrace_worker.store.progress import Show, Tracker, logged
from headrace_worker.store.request import StoreRequest
from headrace_worker.store.settings import StoreSettings
from headrace_worker.store.snapshot import Listed

if TYPE_CHECKING:
    from headrace_worker.store.buckets import Bucket

log = structlog.get_logger()


@dataclass(frozen=True)
class Fetched:
    """Something that is here."""

    path: Path
    """A folder; the first file of the model where GGUF was asked for."""
    _lock: locks.Lock | None = None

    def close(self) -> None:
        """It is not used any more: it may be evicted."""
        if self._lock:
            self._lock.close()


async def fetch(request: StoreRequest, settings: StoreSettings, show: Show) -> Fetched:
    """Bring what is asked for onto this machine.

    When this is cancelled or killed, nothing that is not complete is visible, and the next call goes on from there. As
    long as the result is not closed (the end of the process closes it), it is not evicted.

    Args:
        request: what to fetch.
        settings: the cache and its limits.
        show: told how far it is, whenever that changes.

    Raises:
        StoreError: it cannot be had; the message names the source and what to do.
    """
    try:
        match request.source.kind:
            case "path":
                return Fetched(_local(request))
            case "hub":
                return await _from_hub(request, settings, show)
            case "bucket":
                return await _from_bucket(request, settings, show)
    except OSError as error:
        what = f"{request.destination}: extra_files" if request.destination else f"{settings.cache}: the model cache"
        raise StoreError(f"{what} cannot be used: {error}") from error


def _local(request: StoreRequest) -> Path:
    place = Path(request.source.place).expanduser()
    if not place.exists():
        raise StoreError(f"{str(place)!r} is neither a file nor a folder")
    if place.is_file() or not (request.gguf or request.source.quant):
        return place
    names = [path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()]
    return place / _first_gguf(names, request)


def _first_gguf(names: list[str], request: StoreRequest) -> str:
    try:
        return gguf.choose_files(names, request.source.quant)[0]
    except gguf.GgufError as error:
        raise StoreError(f"{request.source.place}: {error}") from error


# The libraries of buckets and hub take a quarter of a second to import: where weights are in a folder, they are not.


async def _from_bucket(request: StoreRequest, settings: StoreSettings, show: Show) -> Fetched:
    from headrace_worker.store import buckets, credentials  # noqa: PLC0415

    try:
        where = address.address(request.source.place)
    except ValueError as error:
        raise StoreError(str(error)) from error
    provider = None
    if request.credentials:
        provider = credentials.provider(request.credentials, settings.environment, settings.retries)
    bucket = buckets.Bucket(where, buckets.Access(settings, request.sync, provider))
    places = _places(settings, request, request.name or f"{where.bucket}/{where.prefix.replace('/', '--')}")
    async with _alone(places, show, str(where)) as tracker:
        try:
            listed = await _listed(bucket, request)
        except AttemptError as error:
            return await _cached(places, str(where), request, error)
        return await _fetched(Fetching(bucket, places, settings, tracker), listed, request)


async def _listed(bucket: "Bucket", request: StoreRequest) -> Listed:
    found = await bucket.listing()
    wanted = files.of_mirror(found, request.sync, request.source.quant, weights=request.weights)
    if not wanted:
        raise StoreError(f"{bucket.where}: NoSuchKey: there are no files in this folder that are to be fetched")
    named = next((file for file in found if file.name == files.HASH_FILE), None)
    text = (await bucket.small(named)).decode(errors="replace") if named else None
    name = layout.snapshot_hash(text, str(bucket.where))
    return Listed(str(bucket.where), name, wanted, frozenset(file.name for file in found))


async def _from_hub(request: StoreRequest, settings: StoreSettings, show: Show) -> Fetched:
    from headrace_worker.store import hub  # noqa: PLC0415

    repo = request.source.place
    places = _places(settings, request, repo)
    async with _alone(places, show, repo) as tracker:
        remote = hub.Hub(repo, request.source.revision, settings)
        if settings.offline:
            return await _cached(places, repo, request, AttemptError("away", "HF_HUB_OFFLINE is set"))
        try:
            found = await remote.listing()
        except AttemptError as error:
            return await _cached(places, repo, request, error)
        wanted = files.of_hub(
            found.files, request.source.quant, gguf=request.gguf, onnx=request.onnx, weights=request.weights
        )
        if not wanted:
            raise StoreError(f"{remote.where}: it does not appear to have a file that is to be fetched")
        revision = request.source.revision or layout.MAIN
        listed = Listed(repo, found.commit, wanted, frozenset(file.name for file in found.files), revision)
        return await _fetched(Fetching(remote, places, settings, tracker), listed, request)


async def _fetched(work: Fetching, listed: Listed, request: StoreRequest) -> Fetched:
    names = [file.name for file in listed.files]
    first = _first_gguf(names, request) if request.gguf and request.weights else None  # before the download
    if request.destination:
        await work.folder(listed, request.destination)
        return Fetched(request.destination)
    folder, lock = await work.snapshot(listed)
    return Fetched(folder / first if first else folder, lock)


async def _cached(places: Places, source: str, request: StoreRequest, why: AttemptError) -> Fetched:
    """The newest snapshot, where its source cannot be asked.

    Raises:
        StoreError: there is none, or the source has answered that this worker may not have it, or has it not.
    """
    name = await asyncio.to_thread(_newest, places, source, request.source.revision or layout.MAIN)
    if name is None or why.kind not in {"passing", "away"} or request.destination:
        raise fetching.unavailable(source, why) from why
    lock = await locks.shared_if_possible(places.use(name))
    folder = places.snapshot(name)
    log.warning(
        "the source cannot be asked: what was fetched earlier is used", source=source, why=str(why), path=folder
    )
    try:
        names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
        return Fetched(folder / _first_gguf(names, request) if request.gguf else folder, lock)
    except BaseException:
        if lock:
            lock.close()
        raise


def _newest(places: Places, source: str, revision: str) -> str | None:
    """The newest snapshot of a revision, if it is complete: one of ours has a manifest, of this source."""
    try:
        name = (places.refs / revision).read_text().strip()
    except OSError:
        name = revision  # which may be a commit
    known = manifest.read(places.manifest(name))
    if not name or not places.snapshot(name).is_dir() or (known and known.source != source):
        return None
    whole = known is None or len(durable.intact(places, name, known).files) == len(known.files)
    return name if whole else None


def _places(settings: StoreSettings, request: StoreRequest, name: str) -> Places:
    if request.destination:
        source = layout.content_hash([RemoteFile(request.source.place, 0)])
        return Places(settings.cache, f"extra--{source}", request.destination)
    return Places(settings.cache, layout.folder_name(name))


@asynccontextmanager
async def _alone(places: Places, show: Show, source: str) -> AsyncIterator[Tracker]:
    """While inside, no other worker of this node fetches the same; until then, its progress is shown.

    Where nothing may be written, nothing is fetched, so that nobody has to wait.
    """
    if not foreign.writable(places.own):
        yield Tracker(show)
        return
    async with (
        locks.held(places.lock, lambda: show(fetching.of_other(places))),
        _tracked(places, show, source) as tracker,
    ):
        yield tracker


@asynccontextmanager
async def _tracked(places: Places, show: Show, source: str) -> AsyncIterator[Tracker]:
    tracker = Tracker(fetching.shown_to_others(places, show))
    try:
        async with logged(tracker, source):
            yield tracker
    finally:
        with foreign.tolerated():
            places.owner_progress.unlink(missing_ok=True)
