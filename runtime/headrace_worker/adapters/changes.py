"""What to load and what to unload. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from headrace_api.worker_config import Adapter


@dataclass(frozen=True)
class Changes:
    """From what is loaded to what is wanted."""

    unload: tuple[str, ...] = ()
    """Names; done first."""
    load: tuple[Adapter, ...] = ()


def changes(wanted: Sequence[Adapter], loaded: Mapping[str, Adapter], resting: Collection[Adapter] = ()) -> Changes:
    """The difference; an adapter of another source is unloaded and loaded.

    Args:
        wanted: what shall be served.
        loaded: what is, by name.
        resting: what could not be loaded a moment ago, and is not tried again now.
    """
    kept = {adapter.name for adapter in wanted if loaded.get(adapter.name) == adapter}
    return Changes(
        unload=tuple(name for name in loaded if name not in kept),
        load=tuple(adapter for adapter in wanted if adapter.name not in kept and adapter not in resting),
    )
