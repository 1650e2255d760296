"""What the replicas of a queue tell, together: decisions only.

A replica that is lost has its requests lost, too, but their clients ask again at once, and its connection may only have
broken: its last numbers count for a while, so that nothing is scaled down because a replica went.
"""

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

from headrace_api.load import Load, ModelLoad, summed

KEEP_SECONDS = 5.0
"""How long the last numbers of a lost replica count, while there are others."""


def places(url: str, addresses: Iterable[str]) -> dict[str, str]:
    """The URL for each replica, by its address; the URL itself, by no address, where there are not several.

    Where names have addresses of both kinds, these are the same replicas twice: the larger number is theirs, or IPv4.
    """
    by_kind: dict[int, list[str]] = {4: [], 6: []}
    for one in sorted(set(addresses)):
        by_kind[ipaddress.ip_address(one.partition("%")[0]).version].append(one)
    found = max(by_kind.values(), key=len)
    parts = urlsplit(url)
    if len(found) < 2 or parts.scheme != "http":
        return {"": url}
    port = f":{parts.port}" if parts.port else ""
    hosts = {one: f"[{one}]" if ":" in one else one for one in found}
    return {one: urlunsplit(parts._replace(netloc=host + port)) for one, host in hosts.items()}


@dataclass
class _Feed:
    models: Mapping[str, ModelLoad]
    place: str
    lost_at: float | None = None


@dataclass
class Feeds:
    """The newest numbers of each replica; `clock` gives seconds."""

    clock: Callable[[], float]
    _feeds: dict[str, _Feed] = field(default_factory=dict)
    """By the replica's id."""

    def hear(self, place: str, load: Load) -> None:
        """Take a replica's numbers."""
        replica = load.replica or place
        for other in [key for key, feed in self._feeds.items() if feed.place == place and key != replica]:
            self._feeds[other].lost_at = self._feeds[other].lost_at or self.clock()
            self._feeds[other].place = ""
        self._feeds[replica] = _Feed(load.models, place)

    def lose(self, place: str) -> None:
        """The connection with a replica has ended."""
        for feed in self._feeds.values():
            if feed.place == place and feed.lost_at is None:
                feed.lost_at = self.clock()

    def now(self) -> dict[str, ModelLoad]:
        """The load of every model at all replicas; empty when none is connected."""
        feeds = {key: feed for key, feed in self._feeds.items() if not self._over(feed)}
        self._feeds = feeds if any(feed.lost_at is None for feed in feeds.values()) else {}
        return summed(feed.models for feed in self._feeds.values())

    @property
    def keeps(self) -> bool:
        """Whether numbers of a lost replica count still."""
        return any(feed.lost_at is not None for feed in self._feeds.values())

    def _over(self, feed: _Feed) -> bool:
        return feed.lost_at is not None and self.clock() - feed.lost_at >= KEEP_SECONDS
