"""The regular look at everything: finds what the watches missed, and says when they are in place."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from headrace_api import inference_model as api
from headrace_api import names
from headrace_operator.observed import Key, Object
from headrace_operator.world import SeenWorld, key_of, owner_key, pod_key

_OURS = f"{names.LABEL_MANAGED_BY}={names.MANAGED_BY}"
_KINDS: dict[str, tuple[str, Callable[[Object], Key | None]]] = {
    api.KIND: ("", key_of),
    "ConfigMap": (_OURS, owner_key),
    "Deployment": (_OURS, owner_key),
    "Pod": (_OURS, pod_key),
}
"""What is listed, by which labels, and which model it belongs to, as for the indices."""
_STARTING_SECONDS = 0.3
_RETRY_SECONDS = 5.0

_log = structlog.get_logger()


class Lists(Protocol):
    """What the API server has."""

    async def list_metadata(self, kind: str, namespace: str | None, labels: str) -> list[Object]:
        """All objects of a kind in one namespace, or in all."""


@dataclass(frozen=True)
class Resync:
    """Compares what was seen with what there is, every `seconds`."""

    world: SeenWorld
    lists: Lists
    namespaces: tuple[str, ...]
    """Empty: all."""
    seconds: float
    wake: Callable[[Key], None]
    resynced: Callable[[int], None] = lambda _: None
    """Told after each look how many objects had gone away unseen."""
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once everything that exists has been seen."""

    async def run(self) -> None:
        """Compare until cancelled; an API server that does not answer is asked again."""
        while True:
            try:
                delay = await self._compare()
            except Exception as error:  # noqa: BLE001  # whatever it is, the next look may succeed
                _log.warning("cannot list, trying again", error=repr(error)[:300])
                delay = _RETRY_SECONDS
            await asyncio.sleep(delay)

    async def _compare(self) -> float:
        seen = self.world.uids()  # before the lists: what is made meanwhile is not missing from them
        listed = await self._list()
        if not self.ready.is_set():
            if not listed <= self.world.uids():
                return _STARTING_SECONDS
            self.ready.set()
        gone = seen - listed
        if gone:
            _log.info("objects went away unseen", count=len(gone))
        affected = [key_of(model) for model in self.world.models()]
        self.world.bury(gone)
        for key in affected:
            self.wake(key)
        self.resynced(len(gone))
        return self.seconds

    async def _list(self) -> set[str]:
        """The uids of everything that the indices should hold."""
        found: set[str] = set()
        for namespace in self.namespaces or (None,):
            for kind, (labels, key) in _KINDS.items():
                items = await self.lists.list_metadata(kind, namespace, labels)
                found |= {item["metadata"]["uid"] for item in items if key(item) is not None}
        return found
