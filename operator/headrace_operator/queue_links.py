"""The operator's connections to every replica of the queue: the catalogue to each, the loads of all as one."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from urllib.parse import urlsplit

import structlog

from headrace_api.feeds import Feeds, places
from headrace_api.load import Catalogue, Load
from headrace_operator.queue_link import OnLoad, QueueLink

LookUp = Callable[[str], Awaitable[Iterable[str]]]

_LOOK_SECONDS = 2.0

_log = structlog.get_logger()


async def look_up(host: str) -> set[str]:
    """All addresses of a name.

    Raises:
        OSError: there is no answer.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return {str(address[0]) for *_, address in found}


class QueueLinks:
    """One `QueueLink` for each address of the queue's admin URL, which is looked up again and again."""

    def __init__(
        self, url: str, catalogue: Callable[[], Catalogue], on_load: OnLoad, look_up: LookUp = look_up
    ) -> None:
        self._url = url
        self._catalogue = catalogue
        self._on_load = on_load
        self._look_up = look_up
        self._feeds = Feeds(time.monotonic)
        self._links: dict[str, tuple[QueueLink, asyncio.Task[None]]] = {}

    @property
    def connected(self) -> int:
        """How many replicas answer now."""
        return sum(link.connected for link, _ in self._links.values())

    def refresh(self) -> None:
        """Say that the models may have changed: the catalogue is sent again if it did."""
        for link, _ in self._links.values():
            link.refresh()

    async def run(self) -> None:
        """Stay connected until cancelled."""
        try:
            while True:
                await self._follow()
                await self._wait()
        finally:
            await self._close(list(self._links))
            self._on_load({})  # another operator leads: these numbers are not kept current any more

    async def _follow(self) -> None:
        try:
            found = places(self._url, await self._look_up(urlsplit(self._url).hostname or ""))
        except OSError as error:
            _log.warning("the queue's name cannot be looked up", url=self._url, error=str(error))
            found = {} if self._links else {"": self._url}  # the connection itself says why it fails
            if not found:
                return
        for place in found.keys() - self._links.keys():
            link = QueueLink(found[place], self._catalogue, partial(self._hear, place), every=bool(place))
            self._links[place] = link, asyncio.create_task(link.run())
        gone = [place for place in self._links if place not in found and not self._links[place][0].connected]
        gone += [""] if "" in self._links and any(self._links[place][0].connected for place in found if place) else []
        await self._close(dict.fromkeys(gone))

    async def _wait(self) -> None:
        """Until the next look-up; meanwhile numbers of a lost replica may come to count no more."""
        tasks = [task for _, task in self._links.values()]
        done, _ = await asyncio.wait(tasks, timeout=_LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        if self._feeds.keeps:
            self._on_load(self._feeds.now())

    async def _close(self, gone: Iterable[str]) -> None:
        for place in gone:
            _, task = self._links.pop(place)
            task.cancel()
            await asyncio.wait([task])  # not `suppress(CancelledError)`, which forgets that whoever waits was cancelled
            if not task.cancelled():
                task.result()
            self._hear(place, None)

    def _hear(self, place: str, load: Load | None) -> None:
        if load is None:
            self._feeds.lose(place)
        else:
            self._feeds.hear(place, load)
        self._on_load(self._feeds.now())
