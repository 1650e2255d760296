"""Which addresses of a queue the worker is connected with: decisions only.

The name in the queue's URL may resolve to several addresses, one of each replica (a headless Service). It is looked up
again and again; an address that has gone is left when its replica ends the connection, or after a while: until then the
replica may be one that drains and still has work to give.
"""

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

LOOK_S = 5.0
"""The time between two look-ups, as long as DNS servers in a cluster may keep an answer."""
GONE_S = 60.0
"""After so long without its address a replica is left: longer than it may take to drain."""
ALONE_S = 10.0
"""After so long without any connection the worker begins as at first: the replicas may be elsewhere by now."""
ALIAS_S = 60.0
"""How long an address is not tried again that turned out to be one of a replica that is connected."""


@dataclass(frozen=True)
class Changes:
    """What is to be done."""

    connect: tuple[str, ...] = ()
    leave: tuple[str, ...] = ()
    """To drain, for their replicas have been gone for long."""


def changes(found: Iterable[str], seen: Mapping[str, float], avoid: Mapping[str, float], now: float) -> Changes:
    """What follows from a look-up.

    Args:
        found: the addresses that the name resolves to.
        seen: those that connections are kept with, and when each was among the found last, in seconds.
        avoid: addresses that shall not be tried before these times.
        now: in seconds.
    """
    kind = {ipaddress.ip_address(one.partition("%")[0]).version for one in seen}
    same = [one for one in found if not kind or ipaddress.ip_address(one.partition("%")[0]).version in kind]
    new = tuple(sorted(one for one in same if one not in seen and avoid.get(one, now) <= now))
    return Changes(new, tuple(sorted(one for one, last in seen.items() if now - last > GONE_S)))
