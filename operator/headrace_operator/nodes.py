"""What is known of the cluster's nodes: listed when a worker finds no place, never watched.

A node's status changes with every heartbeat, and nothing of that concerns a model. The right to list nodes is one on
the whole cluster, which not every installation grants: without it the scheduler's own message has to do.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

import structlog

from headrace_operator.observed import Key, Node, Object
from headrace_operator.root_cause.capacity import is_device, whole

_FRESH_SECONDS = 30.0
_RETRY_SECONDS = 10.0
_REFUSED_SECONDS = 600.0
_KEEPING_AWAY = frozenset({"NoSchedule", "NoExecute"})

_log = structlog.get_logger()


class NodeLists(Protocol):
    """Where nodes come from."""

    def list_nodes(self) -> AsyncIterator[Object]:
        """All nodes; raises PermissionError when this operator may not list them."""


class Nodes:
    """The nodes as they were not long ago."""

    def __init__(self, lists: NodeLists, wake: Callable[[Key], None]) -> None:
        self._lists = lists
        self._wake = wake
        self._asked: set[Key] = set()
        self._wanted = asyncio.Event()
        self.seen: tuple[Node, ...] | None = None
        """None: not known."""

    def ask(self, key: Key) -> None:
        """Say that a model has a worker without a place: it is woken when there is news of the nodes."""
        self._asked.add(key)
        self._wanted.set()

    async def run(self) -> None:
        """List at the start, then when asked, until cancelled."""
        while True:
            seconds = await self._look()
            await asyncio.sleep(seconds)
            await self._wanted.wait()

    async def _look(self) -> float:
        """List once; returns the seconds in which it need not be done again."""
        self._wanted.clear()
        asked, self._asked = self._asked, set()
        try:
            now = tuple(sorted([node(item) async for item in self._lists.list_nodes()], key=lambda one: one.name))
        except PermissionError as error:
            _log.info("nodes cannot be read, so messages do not say where GPUs are free", error=str(error))
            return _REFUSED_SECONDS
        except Exception as error:  # noqa: BLE001  # whatever it is, the next look may succeed
            _log.warning("cannot list nodes", error=repr(error)[:300])
            self._asked |= asked
            self._wanted.set()
            return _RETRY_SECONDS
        if now != self.seen:
            self.seen = now
            for key in asked:
                self._wake(key)
        return _FRESH_SECONDS


def node(item: Object) -> Node:
    """What is kept of a node."""
    metadata, status = item["metadata"], item.get("status") or {}
    allocatable: dict[str, Any] = status.get("allocatable") or {}
    return Node(
        name=metadata["name"],
        labels=metadata.get("labels") or {},
        allocatable={name: whole(amount) for name, amount in allocatable.items() if is_device(name)},
        taints=tuple(
            (one["key"], one.get("value") or "", one["effect"])
            for one in (item.get("spec") or {}).get("taints") or []
            if one["effect"] in _KEEPING_AWAY
        ),
    )
