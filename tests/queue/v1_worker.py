"""A `headrace.v1` worker whose every step a test decides."""

import asyncio
import ssl
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Self, TypeVar

from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from headrace_api import wire
from headrace_api.pieces import encode_pieces

MACHINE = {"cpu_count": 2, "disk_space": 10, "vram": 0}
_M = TypeVar("_M", bound=wire.QueueMessage)


class V1Worker:
    def __init__(
        self,
        url: str,
        *models: str,
        credit: int = 0,
        token: str | None = None,
        name: str = "fake",
        state: wire.WorkerState = "ready",
        continues: bool = False,
        tags: Sequence[str] = (),
        context: ssl.SSLContext | None = None,
    ) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else None
        self._connecting = connect(
            url, subprotocols=[Subprotocol(wire.SUBPROTOCOL)], additional_headers=headers, max_size=None, ssl=context
        )
        self._register = wire.Register(
            worker=name,
            models=list(models),
            fingerprint="f" * 16,
            state=state,
            tags=list(tags),
            continues=continues,
            **MACHINE,
        )
        self._credit = credit
        self.socket: ClientConnection
        self._came: deque[wire.QueueMessage] = deque()

    async def __aenter__(self) -> Self:
        self.socket = await self._connecting
        assert self.socket.subprotocol == wire.SUBPROTOCOL
        await self.send(self._register)
        await self.expect(wire.Registered)
        if self._credit:
            await self.send(wire.Credit(n=self._credit))
        return self

    async def __aexit__(self, kind: type[BaseException] | None, _: object, __: TracebackType | None) -> None:
        if kind is None:
            await self.socket.close()
        else:
            self.die()

    def die(self) -> None:
        """The network cable is pulled."""
        self.socket.transport.abort()

    async def send(self, message: wire.Register | wire.WorkerMessage) -> None:
        await self.socket.send(wire.encoded(message))

    async def expect(self, kind: type[_M]) -> _M:
        async with asyncio.timeout(5):
            while not self._came:
                self._came += wire.read_queue_messages(await self.socket.recv())
        message = self._came.popleft()
        assert isinstance(message, kind), message
        return message

    async def silent(self, seconds: float = 0.1) -> bool:
        if self._came:
            return False
        try:
            async with asyncio.timeout(seconds):
                await self.socket.recv()
        except TimeoutError:
            return True
        return False

    async def pieces(self, *pieces: tuple[int, bytes]) -> None:
        await self.socket.send(encode_pieces(pieces))

    async def result(self, job: wire.Job, **fields: object) -> None:
        """Send the result and wait for its acknowledgement."""
        await self.send(wire.Result(job=job.job, request_id=job.request_id, **fields))
        assert (await self.expect(wire.Ack)).request_id == job.request_id
