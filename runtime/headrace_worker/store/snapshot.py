"""What has to be done for a snapshot to have the files that are wanted. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from headrace_worker.store import layout
from headrace_worker.store.files import RemoteFile
from headrace_worker.store.manifest import Manifest


@dataclass(frozen=True)
class Step:
    """What is done about the snapshot `name`."""

    does: Literal["reuse", "add", "make"]
    """Nothing; bring the files that it lacks beside those that it has; or make a new one, in the place of any other."""
    name: str
    files: tuple[RemoteFile, ...] = ()
    """Those to bring."""


def step_for(wanted: Sequence[RemoteFile], name: str, known: Manifest | None, *, held: bool) -> Step:
    """Decide.

    Args:
        wanted: the files as they are at their source now.
        name: what the snapshot is called.
        known: what the snapshot of this name has; None when there is none.
        held: whether another worker serves from it: then it must not change under it, and files that differ make a
            snapshot of another name, which the files decide.
    """
    if known is None:
        return Step("make", name, tuple(wanted))
    missing = tuple(file for file in wanted if not known.has(file))
    if not missing:
        return Step("reuse", name)
    there = {file.name for file in known.files}
    if not any(file.name in there for file in missing):
        return Step("add", name, missing)
    return Step("make", layout.content_hash(wanted) if held else name, tuple(wanted))
