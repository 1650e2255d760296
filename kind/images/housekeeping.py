"""Removing old build results: every edit makes a new archive of tens of megabytes."""

import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from toolbox import paths

_KEPT = 3
_YOUNG_SECONDS = 3600.0
"""Another checkout may be importing an archive that it was given a moment ago."""


def prune(name: str, used: Path | None = None) -> None:
    """Delete cache folders `name-KEY` but the three used last and those of the last hour; `used` is used now."""
    if used:
        os.utime(used)
    last_used = {folder: folder.stat().st_mtime for folder in paths.cache_dir().glob(f"{name}-{'[0-9a-f]' * 16}")}
    for folder in superfluous(list(last_used.items()), time.time()):
        shutil.rmtree(folder, ignore_errors=True)


def superfluous(last_used: Sequence[tuple[Path, float]], now: float) -> list[Path]:
    """Which of the folders, given with their times of last use in seconds, can go at time `now`."""
    newest_first = sorted(last_used, key=lambda pair: pair[1], reverse=True)
    return [folder for folder, used in newest_first[_KEPT:] if now - used > _YOUNG_SECONDS]
