"""`GET /operator` on the admin port: takes the operator's catalogue and tells it the load of every model."""

import asyncio
import itertools

import structlog
from aiohttp import WSCloseCode, WSMsgType, web
from pydantic import ValidationError

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

    def __init__(self, dispatcher: Dispatcher, names: ModelNames, log: structlog.typing.FilteringBoundLogger) -> None:
        self._dispatcher = dispatcher
        self._names = names
        self._log = log
        self._numbers = itertools.count(1)
        self._open: dict[web.WebSocketResponse, asyncio.Event] = {}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one operator until it leaves; a queue that drains refuses it, so that it finds the next queue."""
        if self._dispatcher.draining:
            return web.Response(status=503, text="draining")
        socket = web.WebSocketResponse(heartbeat=_HEARTBEAT_SECONDS, timeout=2, compress=False)
        await socket.prepare(request)
        number = next(self._numbers)
        self._names.operator_connected(number)
        self._log.info("operator connected", peer=request.remote, connection=number)
        with self._dispatcher.watch() as changed:
            self._open[socket] = changed
            teller = asyncio.create_task(self._tell(socket, changed))
            try:
                await self._listen(socket, number)
            finally:
                teller.cancel()
                del self._open[socket]
                self._names.operator_left(number)
                self._log.info("operator left", connection=number, close_code=socket.close_code)
                await asyncio.wait([teller])  # last, as this task may be cancelled, too, when its peer is gone
        return socket

    async def close(self) -> None:
        """Close every connection: the queue stops."""
        await asyncio.gather(*(close(socket, reason="the queue stops") for socket in self._open))

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
            load = Load(models=self._dispatcher.schedule.load(self._names.announced()))
            if load != told:
                try:
                    await socket.send_str(load.model_dump_json())
                except ConnectionError:
                    return
                told = load
            await asyncio.sleep(_PAUSE_SECONDS)
            await changed.wait()
