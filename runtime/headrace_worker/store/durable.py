"""What survives a power cut, without a start that waits for the disk.

A snapshot is visible, and served, before its bytes are on the disk. A while later, when the kernel has written most of
them by itself, they are synced, and a file beside the manifest says so. Where it does not say so and the machine has
been started anew since, every file is compared with its hash before it is used, and fetched again if it is not right.
"""

import hashlib
import os
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import structlog

from headrace_worker.store import foreign, manifest, verify
from headrace_worker.store.files import RemoteFile
from headrace_worker.store.layout import Places
from headrace_worker.store.manifest import Manifest

_BOOT = Path("/proc/sys/kernel/random/boot_id")

log = structlog.get_logger()


def boot() -> str:
    """Which start of this machine it is; empty where the kernel does not say."""
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return ""


def intact(places: Places, name: str, known: Manifest) -> Manifest:
    """What of a snapshot that we fetched is sure to be there; what turns out to be wrong is removed. Blocks."""
    if known.boot == boot() or _settled(places, name):
        return known
    folder = places.snapshot(name)
    log.info("the machine was started anew since this was fetched: checking it", path=folder)
    right = tuple(file for file in known.files if is_right(folder / file.name, file))
    for file in set(known.files) - set(right):
        log.warning("a file did not survive that the machine went down", file=file.name)
        with foreign.tolerated():
            (folder / file.name).unlink(missing_ok=True)
    left = replace(known, files=right, boot=boot())
    with foreign.tolerated():
        manifest.write(places.manifest(name), left)
    return left


def is_right(path: Path, file: RemoteFile) -> bool:
    """Whether a file is there with the content that its source tells; False where the source tells nothing."""
    check = verify.check_for(file.etag, file.size, file.checksum)
    try:
        if check.algorithm == "none" or path.stat().st_size != file.size:
            return False
        with ThreadPoolExecutor() as pool:
            return verify.verify(path, check, pool).right
    except OSError:
        return False


def settle_later(places: Places, name: str, after_s: float) -> None:
    """`settle` in a thread that nobody waits for; the process may end meanwhile."""
    if not _settled(places, name):
        timer = threading.Timer(after_s, _settle_if_possible, (places, name))
        timer.daemon = True
        timer.start()


def settle(places: Places, name: str) -> None:
    """Have the disk write a snapshot down, and then note that it has."""
    before = _content_of_manifest(places, name)
    folder = places.snapshot(name)
    sync(path for path in folder.rglob("*"))
    sync([folder, folder.parent, places.model, *places.refs.rglob("*"), places.manifest(name), places.own])
    kept = places.kept(name)
    manifest.replace(kept, before)
    sync([kept, kept.parent])


def sync(paths: Iterable[Path]) -> None:
    """Have the disk write files and folders down."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _settle_if_possible(places: Places, name: str) -> None:
    try:
        settle(places, name)
    except OSError as error:  # it was evicted meanwhile, or the disk is broken, which others notice
        log.info("a snapshot could not be synced", path=places.snapshot(name), error=str(error))


def _settled(places: Places, name: str) -> bool:
    try:
        return places.kept(name).read_text() == _content_of_manifest(places, name)
    except OSError:
        return False


def _content_of_manifest(places: Places, name: str) -> str:
    return hashlib.sha256(places.manifest(name).read_bytes()).hexdigest()
