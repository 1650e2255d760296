"""What to load and what to unload. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from headrace_api.worker_config import Adapter


@dataclass(frozen=True)
class Changes:
    """From what is loaded to what is wanted."""

    unload: tuple[str, ...] = ()
    """Names that are not wanted any more."""
    load: tuple[Adapter, ...] = ()
    """One whose name is loaded from another source takes its place when it is here; the former serves until then."""


def changes(wanted: Sequence[Adapter], loaded: Mapping[str, Adapter], resting: Collection[Adapter] = ()) -> Changes:
    """The difference.

    Args:
        wanted: what shall be served.
        loaded: what is, by name.
        resting: what could not be loaded a moment ago, and is not tried again now.
    """
    names = {adapter.name for adapter in wanted}
    return Changes(
        unload=tuple(name for name in loaded if name not in names),
        load=tuple(one for one in wanted if loaded.get(one.name) != one and one not in resting),
    )
