"""`GET /operator` on the admin port: takes the operator's catalogue and tells it the load of every model."""

import asyncio
import itertools
from collections.abc import Iterable

import structlog
from aiohttp import WSCloseCode, WSMsgType, web
from pydantic import ValidationError

from headrace_api import load
from headrace_api.load import Catalogue, Load
from headrace_queue.dispatch import Dispatcher
from headrace_queue.invalid import in_words
from headrace_queue.models import ModelNames
from headrace_queue.outbox import close

_PAUSE_SECONDS = 0.1
"""A first change is told at once, further ones no more often than this, each time as one."""
_HEARTBEAT_SECONDS = 15


class OperatorSocket:
    """The operators' connections."""

    def __init__(
        self, dispatcher: Dispatcher, names: ModelNames, log: structlog.typing.FilteringBoundLogger, replica: str
    ) -> None:
        self._dispatcher = dispatcher
        self._names = names
        self._log = log
        self._replica = replica
        self._numbers = itertools.count(1)
        self._open: dict[web.WebSocketResponse, asyncio.Event] = {}
        self._stay: set[web.WebSocketResponse] = set()
        """Those of operators that are with every replica."""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one operator until it leaves.

        A queue that drains refuses it, so that it finds the next queue; unless it is with each of them anyway.
        """
        stays = load.EVERY_REPLICA in request.query
        if self._dispatcher.draining and not stays:
            return web.Response(status=503, text="draining")
        socket = web.WebSocketResponse(heartbeat=_HEARTBEAT_SECONDS, timeout=2, compress=False)
        await socket.prepare(request)
        number = next(self._numbers)
        self._names.operator_connected(number)
        self._log.info("operator connected", peer=request.remote, connection=number)
        with self._dispatcher.watch() as changed:
            self._open[socket] = changed
            if stays:
                self._stay.add(socket)
            teller = asyncio.create_task(self._tell(socket, changed))
            try:
                await self._listen(socket, number)
            finally:
                teller.cancel()
                del self._open[socket]
                self._stay.discard(socket)
                self._names.operator_left(number)
                self._log.info("operator left", connection=number, close_code=socket.close_code)
                await asyncio.wait([teller])  # last, as this task may be cancelled, too, when its peer is gone
        return socket

    async def turn_away(self) -> None:
        """Close the connections of operators that should find the next queue: this one drains."""
        await self._close(self._open.keys() - self._stay)

    async def close(self) -> None:
        """Close every connection: the queue stops."""
        await self._close(self._open)

    @staticmethod
    async def _close(sockets: Iterable[web.WebSocketResponse]) -> None:
        await asyncio.gather(*(close(socket, reason="the queue stops") for socket in list(sockets)))

    async def _listen(self, socket: web.WebSocketResponse, number: int) -> None:
        async for frame in socket:
            if frame.type is not WSMsgType.TEXT:
                continue
            try:
                catalogue = Catalogue.model_validate_json(frame.data)
            except ValidationError as error:
                await close(socket, WSCloseCode.PROTOCOL_ERROR, in_words(error))
                return
            self._names.set_catalogue(number, catalogue)
            self._dispatcher.settle()
            for changed in self._open.values():
                changed.set()

    async def _tell(self, socket: web.WebSocketResponse, changed: asyncio.Event) -> None:
        told: Load | None = None
        while True:
            changed.clear()
            now = Load(models=self._dispatcher.schedule.load(self._names.announced()), replica=self._replica)
            if now != told:
                try:
                    await socket.send_str(now.model_dump_json())
                except ConnectionError:
                    return
                told = now
            await asyncio.sleep(_PAUSE_SECONDS)
            await changed.wait()
