"""The operator's connection to one replica of the queue: catalogue out, load in (`headrace_api.load`)."""

import asyncio
from collections.abc import Callable, Mapping

import aiohttp
import structlog

from headrace_api.load import EVERY_REPLICA, OPERATOR_PATH, Catalogue, Load, ModelLoad

OnLoad = Callable[[Mapping[str, ModelLoad]], None]
"""Takes the load of every model; it is called for each message, up to ten times a second."""
OnMessage = Callable[[Load | None], None]
"""Takes each message; None when the connection has ended."""

_RETRY_SECONDS = 0.5
_HEARTBEAT_SECONDS = 15.0
_PAUSE_SECONDS = 0.25
"""Between two catalogues: while a fleet starts, one model or another changes all the time."""

_log = structlog.get_logger()


class QueueLink:
    """Keeps the queue's catalogue current and hands its numbers to `hear`; reconnects for ever."""

    def __init__(self, url: str, catalogue: Callable[[], Catalogue], hear: OnMessage, *, every: bool = False) -> None:
        """`every`: each replica has a connection of its own, so that this one has no other to turn to."""
        self.connected = False
        """Whether the queue answers now."""
        self._url = url.rstrip("/") + OPERATOR_PATH + (f"?{EVERY_REPLICA}" if every else "")
        self._catalogue = catalogue
        self._hear = hear
        self._changed = asyncio.Event()

    def refresh(self) -> None:
        """Say that the models may have changed: the catalogue is sent again if it did."""
        self._changed.set()

    async def run(self) -> None:
        """Stay connected until cancelled."""
        async with aiohttp.ClientSession() as session:
            while True:
                try:
                    await self._connected(session)
                except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                    _log.warning("no connection to the queue, trying again", url=self._url, error=repr(error)[:300])
                finally:
                    self._hear(None)  # numbers that are no longer known are not shown, and nothing is decided by them
                await asyncio.sleep(_RETRY_SECONDS)

    async def _connected(self, session: aiohttp.ClientSession) -> None:
        async with session.ws_connect(self._url, heartbeat=_HEARTBEAT_SECONDS) as socket:
            _log.info("connected to the queue", url=self._url)
            self.connected = True
            sender = asyncio.create_task(self._send(socket))
            try:
                async for message in socket:
                    if message.type is aiohttp.WSMsgType.TEXT:
                        self._hear(Load.model_validate_json(message.data))
            finally:
                self.connected = False
                sender.cancel()

    async def _send(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        sent: Catalogue | None = None
        while True:
            self._changed.clear()
            if (catalogue := self._catalogue()) != sent:
                await socket.send_str(catalogue.model_dump_json())
                sent = catalogue
            await asyncio.sleep(_PAUSE_SECONDS)
            await self._changed.wait()
