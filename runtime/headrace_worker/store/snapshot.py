"""What has to be done for a snapshot to have the files that are wanted. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from headrace_worker.store import layout
from headrace_worker.store.files import RemoteFile
from headrace_worker.store.manifest import Manifest


@dataclass(frozen=True)
class Listed:
    """What a place holds."""

    source: str
    name: str
    """What its snapshot is called."""
    files: Sequence[RemoteFile]
    """Those that are wanted."""
    all_names: frozenset[str]
    """Of everything that is there, wanted or not."""
    revision: str = layout.MAIN


@dataclass(frozen=True)
class Step:
    """What is done about the snapshot `name`."""

    does: Literal["reuse", "add", "make"]
    """Nothing; bring the files that it lacks beside those that it has; or make a new one, in the place of any other."""
    name: str
    files: tuple[RemoteFile, ...] = ()
    """Those to bring."""


def step_for(listed: Listed, name: str, known: Manifest | None, *, held: bool) -> Step:
    """Decide.

    A file that is known and not wanted now may stay (another quantisation, for another worker) as long as it is at the
    source, too. One that is gone there would be loaded in the place of what came instead, an index of shards for
    example.

    Args:
        listed: the files as they are at their source now.
        name: what the snapshot is called.
        known: what the snapshot of this name has; None when there is none.
        held: whether another worker serves from it: then it must not change under it, and files that differ make a
            snapshot of another name, which the files decide.
    """
    wanted = tuple(listed.files)
    if known is None:
        return Step("make", name, wanted)
    missing = tuple(file for file in wanted if not known.has(file))
    there = {file.name for file in known.files}
    if any(file.name in there for file in missing) or (_is_of(listed, name, known) and not there <= listed.all_names):
        return Step("make", layout.content_hash(wanted) if held else name, wanted)
    return Step("add", name, missing) if missing else Step("reuse", name)


def _is_of(listed: Listed, name: str, known: Manifest) -> bool:
    """Whether a snapshot has to have what its source has: a real hash promises that the same is elsewhere."""
    return known.source == listed.source or name == layout.NO_HASH
