"""Listens, keeps the connections, and looks after their time limits."""

import asyncio
import contextlib
from collections.abc import Callable
from email.utils import formatdate
from functools import partial

import structlog

from headrace_queue.http.connection import Connection, HttpLimits, Service
from headrace_queue.http.tls import Certificate

_TICK_SECONDS = 1
_RENEW_TICKS = 10
"""How often the certificate's files are looked at."""
_BACKLOG = 4096
_CLOSE_SECONDS = 1
_HANDSHAKE_SECONDS = 10


class HttpServer:
    """The public port; `elsewhere` makes the protocol for whatever `service` does not take."""

    def __init__(
        self,
        service: Service,
        elsewhere: Callable[[], asyncio.Protocol],
        limits: HttpLimits,
        log: structlog.typing.FilteringBoundLogger,
        certificate: Certificate | None = None,
    ) -> None:
        self.service = service
        self.elsewhere = elsewhere
        self.limits = limits
        self.date = b""
        self._connections: set[Connection] = set()
        self._empty = asyncio.Event()
        self._log = log
        self._certificate = certificate
        self._server: asyncio.Server | None = None
        self._ticks = 0
        self._timer: asyncio.TimerHandle | None = None

    async def listen(self, host: str, port: int) -> int:
        """Begin; returns the port, which the system chooses where `port` is 0.

        Raises:
            OSError: the address cannot be had.
        """
        make = partial(Connection, self)
        server = asyncio.get_running_loop().create_server
        if self._certificate is None:
            self._server = await server(make, host, port, backlog=_BACKLOG)
        else:
            context, seconds = self._certificate.context, _HANDSHAKE_SECONDS
            self._server = await server(
                make, host, port, backlog=_BACKLOG, ssl=context, ssl_handshake_timeout=seconds, ssl_shutdown_timeout=2
            )
        self._tick()
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Close every connection after what is still to be written; what a client does not read is dropped."""
        if self._timer is not None:
            self._timer.cancel()
        if self._server is None:
            return
        self._server.close()
        if self._connections:
            self._empty.clear()
            for connection in list(self._connections):
                connection.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await self._empty.wait()
            for connection in list(self._connections):
                connection.abort()
        await self._server.wait_closed()

    def enter(self, connection: Connection) -> None:
        """A connection begins."""
        self._connections.add(connection)

    def leave(self, connection: Connection) -> None:
        """A connection has ended, or is somebody else's now."""
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(_TICK_SECONDS, self._tick)
        self.date = f"date: {formatdate(usegmt=True)}\r\n".encode()
        now = loop.time()
        for connection in list(self._connections):
            try:
                connection.tick(now)
            except Exception:  # noqa: BLE001 - one connection's fault must not keep the others from theirs
                self._log.exception("a connection has failed")
                connection.abort()
        self._ticks += 1
        if self._certificate is not None and self._ticks % _RENEW_TICKS == 0:
            self._renew(self._certificate)

    def _renew(self, certificate: Certificate) -> None:
        try:
            if certificate.renew():
                self._log.info("the certificate was renewed")
        except OSError as error:
            self._log.warning("the new certificate cannot be used; the old one is", error=str(error))
