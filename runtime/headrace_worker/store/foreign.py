"""A cache that this worker may read but not write: another user's, or a volume that is mounted read-only."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

_REFUSED = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


def is_refusal(error: OSError) -> bool:
    """Whether it says that something may not be written."""
    return error.errno in _REFUSED


def writable(folder: Path) -> bool:
    """Whether files can be made in a folder, which is made where it is not there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if is_refusal(error):
            return False
        raise
    return os.access(folder, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids)


@contextlib.contextmanager
def tolerated() -> Iterator[None]:
    """For what only saves time, or helps others: where it may not be written, it is left."""
    try:
        yield
    except OSError as error:
        if not is_refusal(error):
            raise
