"""The cache on disk: what is in it, landing a complete snapshot, and throwing one away."""

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import structlog

from headrace_worker.store import eviction, foreign, manifest
from headrace_worker.store.eviction import Kept
from headrace_worker.store.files import RemoteFile
from headrace_worker.store.layout import Places
from headrace_worker.store.locks import Lock
from headrace_worker.store.manifest import Manifest

_TRASH = "trash"

log = structlog.get_logger()


def land(places: Places, name: str, files: Path, content: Manifest) -> Path:
    """Make a folder of complete files the snapshot `name`, by a rename; what had this name before goes.

    In this order, so that a manifest never tells of other files than those that are there, whatever fails and whenever
    it is killed. A snapshot without one is checked before it is used again.
    """
    _remove_others(files, {file.name for file in content.files})
    target = places.snapshot(name)
    forget_manifest(places, name)
    _throw_away(places.cache, target)
    target.parent.mkdir(parents=True, exist_ok=True)
    files.rename(target)
    manifest.write(places.manifest(name), content)
    shutil.rmtree(places.partial, ignore_errors=True)
    return target


def add(places: Places, name: str, files: Path, added: Manifest) -> None:
    """Put more complete files into a snapshot: each by a rename, and none in the place of another."""
    places.kept(name).unlink(missing_ok=True)
    move_in(files, places.snapshot(name), added.files)
    before = manifest.read(places.manifest(name))
    manifest.write(places.manifest(name), replace(added, files=(*(before.files if before else ()), *added.files)))
    shutil.rmtree(places.partial, ignore_errors=True)


def move_in(files: Path, folder: Path, moved: Iterable[RemoteFile]) -> None:
    """Rename complete files into a folder."""
    for file in moved:
        target = folder / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        (files / file.name).replace(target)
    shutil.rmtree(files, ignore_errors=True)


def forget_manifest(places: Places, name: str) -> None:
    """A snapshot is about to go."""
    places.kept(name).unlink(missing_ok=True)
    places.manifest(name).unlink(missing_ok=True)


def forget(places: Places) -> None:
    """Nothing is under way any more."""
    shutil.rmtree(places.partial, ignore_errors=True)


def refer(places: Places, name: str, revision: str) -> None:
    """Make the file in `refs` say that this is the newest snapshot of a revision; one that is a commit needs none."""
    ref = places.refs / revision
    with contextlib.suppress(OSError):
        if revision == name or ref.read_text() == name:
            return
    with foreign.tolerated():
        manifest.replace(ref, name)


def make_room(places: Places, needed_bytes: int, limit_bytes: int | None) -> None:
    """Check the disk, and evict what is needed; for files outside the cache nothing is evicted.

    Raises:
        StoreError: there is not enough room.
    """
    if places.destination:
        limit_bytes = None
    else:
        empty_trash(places.cache)
    kept = list(contents(places.cache, places)) if limit_bytes is not None else []
    chosen = eviction.to_evict(
        kept,
        needed_bytes=needed_bytes,
        free_bytes=shutil.disk_usage(places.own).free,
        limit_bytes=limit_bytes,
        place=str(places.destination or places.cache),
    )
    for one in chosen:
        _evict(places.cache, one)


def contents(cache: Path, mine: Places) -> Iterator[Kept]:
    """Every snapshot and every unfinished download; the ones of `mine` count as held."""
    for model in sorted(cache.glob("models--*")):
        for snapshot in sorted((model / "snapshots").glob("*")):
            places = Places(cache, model.name)
            yield Kept(
                model.name, snapshot.name, _size(snapshot), _used(places, snapshot), _held(places, snapshot.name)
            )
    for own in sorted((cache / ".headrace").glob("models--*")):
        places = Places(cache, own.name)
        if places.partial.exists():
            held = places == mine or _locked(places.lock) or not foreign.writable(places.own)
            yield Kept(own.name, "", _size(places.partial), places.partial.stat().st_mtime, held)


def empty_trash(cache: Path) -> None:
    """Remove what a worker that was killed while evicting has left; not the folder: another may be about to use it."""
    for left in (cache / ".headrace" / _TRASH).glob("*"):
        shutil.rmtree(left, ignore_errors=True)


def _evict(cache: Path, one: Kept) -> None:
    places = Places(cache, one.folder)
    lock = Lock.exclusive(places.use(one.name) if one.name else places.lock)
    if lock is None:
        return  # somebody has begun to use it
    try:
        log.info("evicting from the model cache", model=one.folder, snapshot=one.name, bytes=one.size_bytes)
        if one.name:
            forget_manifest(places, one.name)
            _throw_away(cache, places.snapshot(one.name))
            _drop_blobs(places)
        else:
            _throw_away(cache, places.partial)
    finally:
        lock.close()


def _throw_away(cache: Path, folder: Path) -> None:
    """Rename first: a folder that is being emptied is not to be seen under its name."""
    trash = cache / ".headrace" / _TRASH
    while folder.exists():
        trash.mkdir(parents=True, exist_ok=True)
        gone = trash / uuid.uuid4().hex
        with contextlib.suppress(FileNotFoundError):  # somebody was quicker, or has removed the trash
            folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def _drop_blobs(places: Places) -> None:
    """Blobs of Hugging Face's own cache to which no snapshot of the model points any more."""
    used = {path.resolve() for path in (places.model / "snapshots").rglob("*") if path.is_symlink()}
    for blob in (places.model / "blobs").glob("*"):
        if blob.resolve() not in used:
            blob.unlink(missing_ok=True)


def _remove_others(folder: Path, names: set[str]) -> None:
    """Files of an earlier try that are not wanted any more."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            with contextlib.suppress(OSError):
                path.rmdir()
        elif path.relative_to(folder).as_posix() not in names:
            path.unlink()


def _size(folder: Path) -> int:
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += (Path(root) / name).stat().st_blocks * 512
    return total


def _used(places: Places, snapshot: Path) -> float:
    try:
        return places.use(snapshot.name).stat().st_mtime
    except OSError:
        return snapshot.stat().st_mtime


def _held(places: Places, name: str) -> bool:
    """Whether it is used, or another user's, who alone may throw it away."""
    theirs = not (foreign.writable(places.snapshot(name).parent) and foreign.writable(places.own))
    return theirs or _locked(places.use(name))


def _locked(path: Path) -> bool:
    if not path.exists():
        return False
    try:
        lock = Lock.exclusive(path)
    except OSError:  # another user's, who lets nobody see it
        return True
    if lock is None:
        return True
    lock.close()
    return False
