"""The regular look at everything: finds what the watches missed, and says when they are in place."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from headrace_operator.kinds import Kind, key_of
from headrace_operator.observed import Key, Object
from headrace_operator.world import SeenWorld

_STARTING_SECONDS = 0.2
_LIST_AGAIN_SECONDS = 2.0
"""While everything is seen for the first time: after so long without anything new, what is missing may be gone."""
_RETRY_SECONDS = 5.0
_GATHER_SECONDS = 0.5
"""After the first object of a new list, so that the others of it need no look of their own."""

_log = structlog.get_logger()


class Lists(Protocol):
    """What the API server has."""

    def list_metadata(self, kind: Kind, namespace: str | None) -> AsyncIterator[Object]:
        """The watched objects of a kind in one namespace, or in all."""


@dataclass
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
    _hurry: asyncio.Event = field(default_factory=asyncio.Event)
    _unseen: dict[str, float] = field(default_factory=dict)
    """The uids that were listed and not seen, with the time of the list that first had them."""
    _listed: float = 0.0
    """The time of the newest list."""

    def deaf_seconds(self) -> float:
        """For how long lists have had an object that no watch tells of. Any thread may ask.

        Counted up to the newest list, so that it does not grow while the API server is away.
        """
        return self._listed - min(list(self._unseen.values()), default=self._listed)

    async def run(self) -> None:
        """Compare until cancelled; an API server that does not answer is asked again."""
        while True:
            try:
                delay = await self._compare()
            except Exception as error:  # noqa: BLE001  # whatever it is, the next look may succeed
                _log.warning("cannot list, trying again", error=repr(error)[:300])
                delay = _RETRY_SECONDS
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._hurry.wait()
                await asyncio.sleep(_GATHER_SECONDS)
            self._hurry.clear()

    def listed_anew(self) -> None:
        """A watch broke off and was begun again with a list: what was deleted in between, it did not tell.

        That list tells of every object by itself, so that this is called many times for one look.
        """
        if self.ready.is_set():
            self._hurry.set()

    async def _compare(self) -> float:
        seen = self.world.uids()  # before the lists: what is made meanwhile is not missing from them
        listed = await self._list()
        self._note(listed - self.world.uids())
        if not self.ready.is_set():
            if not await self._filled(listed):
                return 0.0
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

    async def _filled(self, listed: set[str]) -> bool:
        """Wait until the watches have told of all that was listed; False when it is time to list again.

        Something that was listed may be gone before its watch began: it would be waited for in vain.
        """
        loop = asyncio.get_running_loop()
        fewest, until = len(listed) + 1, 0.0
        while missing := listed - self.world.uids():
            if len(missing) < fewest:
                fewest, until = len(missing), loop.time() + _LIST_AGAIN_SECONDS
            elif loop.time() > until:
                return False
            await asyncio.sleep(_STARTING_SECONDS)
        return True

    def _note(self, unseen: set[str]) -> None:
        now = time.monotonic()
        for uid in self._unseen.keys() - unseen:
            del self._unseen[uid]
        self._unseen.update(dict.fromkeys(unseen - self._unseen.keys(), now))
        self._listed = now

    async def _list(self) -> set[str]:
        """The uids of everything that the indices should hold."""
        found: set[str] = set()
        for namespace in self.namespaces or (None,):
            for kind in self.world.kinds:
                async for item in self.lists.list_metadata(kind, namespace):
                    if kind.key(item) is not None:
                        found.add(item["metadata"]["uid"])
        return found
