"""Where the local set-up keeps things: a cache that can be deleted, and a cluster's state."""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The checkout that this file belongs to."""


def cache_dir() -> Path:
    """Content-keyed build results: `$HEADRACE_CACHE`, else `headrace` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("HEADRACE_CACHE") or Path(base) / "headrace")


def state_dir() -> Path:
    """The running cluster's files and logs: `$HEADRACE_STATE`, else `headrace` in the user's state folder."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(os.environ.get("HEADRACE_STATE") or Path(base) / "headrace")


def content_key(*parts: str | Path) -> str:
    """16 hex digits that change when any text, or any file's content, among `parts` changes."""
    digest = hashlib.sha256()
    for part in parts:
        content = part.read_bytes() if isinstance(part, Path) else part.encode()
        digest.update(len(content).to_bytes(8, "big") + content)
    return digest.hexdigest()[:16]


def cached(name: str, key: str, build: Callable[[Path], None]) -> Path:
    """Return the cache folder `name-key`, made by `build(folder)` if it is not there yet.

    `build` fills a temporary folder that is renamed when it succeeds, so that a build which was killed leaves
    nothing that looks finished. A lock lets only one process build the same thing.
    """
    target = cache_dir() / f"{name}-{key}"
    if target.exists():
        return target
    with locked(target.with_name(f".{name}.lock")):
        if not target.exists():
            partial = target.with_name(f".{target.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            build(partial)
            partial.rename(target)
    return target


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Let only one process at a time do what is done under this file's name."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
