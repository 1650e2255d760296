"""Tells a connection whose other end is gone from one that is only slow."""

import asyncio
import fcntl
import socket as sockets
import struct
import termios

from aiohttp import web

_DEAD_SECONDS = 30
_KEEPALIVE = ((sockets.TCP_KEEPIDLE, 15), (sockets.TCP_KEEPINTVL, 5), (sockets.TCP_KEEPCNT, 3))


def keep_alive(request: web.Request) -> None:
    """Let the kernel find a connection whose other end is gone, within 30 s.

    While it is silent, keepalive finds it; while data is on its way, TCP_USER_TIMEOUT does: data that is not
    acknowledged, or not let in, for so long. That asks the other machine and its reading, never the worker's answers:
    a seed worker may answer nothing, not even pings, while it computes.
    """
    connection = request.transport and request.transport.get_extra_info("socket")
    if connection and connection.family in {sockets.AF_INET, sockets.AF_INET6}:
        connection.setsockopt(sockets.SOL_SOCKET, sockets.SO_KEEPALIVE, 1)
        connection.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_USER_TIMEOUT, _DEAD_SECONDS * 1000)
        for option, seconds in _KEEPALIVE:
            connection.setsockopt(sockets.IPPROTO_TCP, option, seconds)


class PatientSocket(web.WebSocketResponse):
    """A WebSocket whose heartbeat rests while there is something to send.

    A ping waits behind a large message; over a slow link its pong would be too late although the worker lives. In that
    time TCP_USER_TIMEOUT (`keep_alive`) finds a connection that does not move.
    """

    def _send_heartbeat(self) -> None:
        if _is_sending(self._transport()):
            self._reset_heartbeat()  # the method of the base, which comes next, then only waits for the new time
        super()._send_heartbeat()

    def _pong_not_received(self) -> None:
        if _is_sending(self._transport()):
            self._reset_heartbeat()
        else:
            super()._pong_not_received()

    def _transport(self) -> asyncio.Transport | None:
        return self._req.transport if self._req is not None else None


def _is_sending(transport: asyncio.Transport | None) -> bool:
    """Whether something is not acknowledged yet by the other end's kernel."""
    if transport is None or transport.is_closing():
        return False
    if transport.get_write_buffer_size():
        return True
    unsent: bytes = fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, struct.pack("i", 0))
    return bool(struct.unpack("i", unsent)[0])
