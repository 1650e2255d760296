"""Which snapshots make room for a new one. Pure: the effects are in `cache`."""

from collections.abc import Iterable
from dataclasses import dataclass

from headrace_worker.store.errors import StoreError


@dataclass(frozen=True)
class Kept:
    """A snapshot, or what is left of a download that nobody goes on with."""

    folder: str
    """`models--org--name`."""
    name: str
    """Its hash; empty for a download."""
    size_bytes: int
    used_at: float
    """Seconds since the epoch."""
    held: bool
    """Whether a worker serves from it or fetches it."""


def to_evict(
    kept: Iterable[Kept], *, needed_bytes: int, free_bytes: int, limit_bytes: int | None, place: str
) -> list[Kept]:
    """What has to go, the least recently used first, so that the cache keeps its limit and the disk has room.

    Without a limit nothing is ever thrown away: the disk may be used by others who count on what is there.

    Raises:
        StoreError: there is no room, whatever goes.
    """
    everything = list(kept)
    total = sum(one.size_bytes for one in everything)
    candidates = sorted((one for one in everything if not one.held), key=lambda one: one.used_at)
    chosen: list[Kept] = []
    freed = 0
    while not _fits(total - freed, needed_bytes, limit_bytes) or free_bytes + freed < needed_bytes:
        if limit_bytes is None or not candidates:
            break
        chosen.append(candidates.pop(0))
        freed += chosen[-1].size_bytes
    if free_bytes + freed < needed_bytes:
        raise StoreError(
            f"not enough free disk space in {place}: {gib(needed_bytes)} needed, {gib(free_bytes + freed)} free"
            + (f" once {gib(freed)} are evicted" if freed else "")
        )
    if not _fits(total - freed, needed_bytes, limit_bytes):
        raise StoreError(
            f"not enough free disk space in {place}: {gib(needed_bytes)} needed beside {gib(total - freed)} in use, "
            f"and HEADRACE_MODEL_CACHE_LIMIT is {gib(limit_bytes or 0)}"
        )
    return chosen


def _fits(total: int, needed: int, limit: int | None) -> bool:
    return needed == 0 or limit is None or total + needed <= limit


def gib(size: int) -> str:
    """A size for people."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"
