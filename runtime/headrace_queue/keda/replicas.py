"""The load of all replicas of the queue, for whoever asks one of them.

KEDA asks one address and needs one answer. Every replica tells the operator its load; here a replica listens to its
peers in the same way, so that any of them can answer for all, and there is no leader.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import aiohttp
import structlog

from headrace_api.feeds import Feeds
from headrace_api.load import EVERY_REPLICA, OPERATOR_PATH, Load, ModelLoad, summed
from headrace_queue.watching import Watchers

_LOOK_SECONDS = 2.0
_RETRY_SECONDS = 0.5
_HEARTBEAT_SECONDS = 15.0


@dataclass(frozen=True)
class Own:
    """This replica."""

    id: str
    load: Callable[[], Mapping[str, ModelLoad]]
    watch: Callable[[], contextlib.AbstractContextManager[asyncio.Event]]
    """An event that is set when that changes."""


class AllReplicas:
    """This replica's load and its peers'."""

    def __init__(self, own: Own, host: str, admin_port: int, log: structlog.typing.FilteringBoundLogger) -> None:
        """`host` is the name with the addresses of all replicas; empty: there is only this one."""
        self._own = own
        self._host = host
        self._port = admin_port
        self._log = log
        self._feeds = Feeds(asyncio.get_running_loop().time)
        self._readers: dict[str, asyncio.Task[None]] = {}
        self._watchers = Watchers()
        self.watch = self._watchers.watch

    def load(self) -> Mapping[str, ModelLoad]:
        """By model."""
        return summed([self._own.load(), self._feeds.now()])

    async def run(self) -> None:
        """Listen, until cancelled."""
        parts = [self._pass_on(), self._follow()] if self._host else [self._pass_on()]
        try:
            await asyncio.gather(*parts)
        finally:
            for reader in self._readers.values():
                reader.cancel()
            await asyncio.gather(*self._readers.values(), return_exceptions=True)

    async def _pass_on(self) -> None:
        with self._own.watch() as changed:
            while True:
                await changed.wait()
                changed.clear()
                self._watchers.notify()

    async def _follow(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                found = await loop.getaddrinfo(self._host, None, type=socket.SOCK_STREAM)
            except OSError as error:
                self._log.warning("the replicas' name cannot be looked up", host=self._host, error=str(error))
            else:
                self._keep({str(address[0]) for *_, address in found})
            await asyncio.sleep(_LOOK_SECONDS)
            self._watchers.notify()  # numbers of a lost replica may count no more

    def _keep(self, addresses: set[str]) -> None:
        for gone in self._readers.keys() - addresses:
            self._readers.pop(gone).cancel()
        for address in addresses - self._readers.keys():
            self._readers[address] = asyncio.create_task(self._read(address))

    async def _read(self, address: str) -> None:
        host = f"[{address}]" if ":" in address else address
        url = f"http://{host}:{self._port}{OPERATOR_PATH}?{EVERY_REPLICA}"
        async with aiohttp.ClientSession() as http:
            while True:
                try:
                    async with http.ws_connect(url, heartbeat=_HEARTBEAT_SECONDS) as connection:
                        await self._listen(address, connection)
                except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                    self._log.warning("no connection to a peer", url=url, error=repr(error)[:300])
                finally:
                    self._feeds.lose(address)
                await asyncio.sleep(_RETRY_SECONDS)

    async def _listen(self, address: str, connection: aiohttp.ClientWebSocketResponse) -> None:
        async for message in connection:
            if message.type is aiohttp.WSMsgType.TEXT:
                load = Load.model_validate_json(message.data)
                if load.replica != self._own.id:
                    self._feeds.hear(address, load)
                    self._watchers.notify()
