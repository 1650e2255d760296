"""Advisory locks on files: the kernel releases them when their process ends, however it ends."""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Self

from headrace_worker.store import foreign

_POLL_S = 0.5


class Lock:
    """A lock that is held until it is closed. The file stays: removing it would give two workers a lock each."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    @classmethod
    def exclusive(cls, path: Path) -> Self | None:
        """Hold it alone; None when somebody else holds it."""
        return cls._take(path, fcntl.LOCK_EX)

    @classmethod
    def shared(cls, path: Path) -> Self | None:
        """Hold it with others, and note the time; None when somebody holds it alone."""
        lock = cls._take(path, fcntl.LOCK_SH)
        if lock:
            with foreign.tolerated():
                os.utime(path)
        return lock

    @classmethod
    def _take(cls, path: Path, kind: int) -> Self | None:
        descriptor = _opened(path)
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                return None
            raise
        return cls(descriptor)

    def close(self) -> None:
        """Let go of it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _opened(path: Path) -> int:
    """The file's descriptor; a file of another user, or on a read-only volume, can be locked as well."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if not foreign.is_refusal(error):
            raise
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            raise error from None


@contextlib.asynccontextmanager
async def held(path: Path, waiting: Callable[[], None]) -> AsyncIterator[None]:
    """Wait for a lock and hold it alone; `waiting` is called every half second that somebody else has it."""
    while (lock := Lock.exclusive(path)) is None:
        waiting()
        await asyncio.sleep(_POLL_S)
    try:
        yield
    finally:
        lock.close()


async def shared(path: Path) -> Lock:
    """Hold it with others, after whoever holds it alone, for a moment, to evict something."""
    while (lock := Lock.shared(path)) is None:  # noqa: ASYNC110 - the kernel tells nobody
        await asyncio.sleep(_POLL_S)
    return lock


async def shared_if_possible(path: Path) -> Lock | None:
    """The same in a cache that may not be written: there is no lock where nobody has made its file."""
    try:
        return await shared(path)
    except OSError as error:
        if not foreign.is_refusal(error):
            raise
        return None
