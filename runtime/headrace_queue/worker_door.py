"""`GET /worker`: lets workers in, and chooses the protocol that they speak."""

import asyncio
import itertools

import structlog
from aiohttp import WSCloseCode, WSMsgType, web
from pydantic import ValidationError

from headrace_api import wire
from headrace_queue.connection import PatientSocket, keep_alive
from headrace_queue.dispatch import Dispatcher
from headrace_queue.invalid import in_words
from headrace_queue.keys.digests import bearer
from headrace_queue.keys.worker_tokens import WorkerRights, WorkerTokens, beyond
from headrace_queue.metrics import Metrics
from headrace_queue.outbox import Outbox, close
from headrace_queue.seed_socket import SeedSession
from headrace_queue.worker_socket import V1Session

_REGISTER_SECONDS = 10
_MAX_FRAME_BYTES = 64 * 2**20


class WorkerDoor:
    """Checks each worker's token and registration, then runs its session."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        metrics: Metrics,
        log: structlog.typing.FilteringBoundLogger,
        tokens: WorkerTokens | None,
        heartbeat_seconds: float,
    ) -> None:
        self._dispatcher = dispatcher
        self._metrics = metrics
        self._log = log
        self._tokens = tokens or WorkerTokens()
        self._tokens.watch(self._send_away)
        self._heartbeat_seconds = heartbeat_seconds
        self._numbers = itertools.count(1)
        self._open: dict[Outbox, str] = {}
        """The connections, each with its worker's token."""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one worker until it leaves."""
        token = bearer(request.headers.get("Authorization", ""))
        rights = self._tokens.rights(token)
        if rights is None:
            self._log.warning("worker refused", peer=request.remote, reason="token")
            message = "This queue needs `Authorization: Bearer TOKEN` with its worker token."
            error = {"message": message, "type": "invalid_request_error", "param": None, "code": "invalid_worker_token"}
            return web.json_response({"error": error}, status=401, headers={"WWW-Authenticate": "Bearer"})
        speaks_v1 = wire.SUBPROTOCOL in _offered(request)
        socket = PatientSocket(
            protocols=(wire.SUBPROTOCOL,) if speaks_v1 else (),
            heartbeat=self._heartbeat_seconds if speaks_v1 else None,
            timeout=2,
            compress=False,
            max_msg_size=_MAX_FRAME_BYTES,
        )
        await socket.prepare(request)
        keep_alive(request)
        async with Outbox(socket) as outbox:
            self._open[outbox] = token
            try:
                await self._serve(socket, outbox, request.remote, rights, speaks_v1=speaks_v1)
            finally:
                del self._open[outbox]
        return socket

    async def close(self) -> None:
        """Close every connection, after what is still to be sent: the queue stops."""
        await asyncio.gather(*(each.close_and_wait(WSCloseCode.GOING_AWAY, "the queue stops") for each in self._open))

    def _send_away(self) -> None:
        """The tokens have changed: a worker whose token has gone is let go, and may come back with another one."""
        for outbox, token in self._open.items():
            if self._tokens.rights(token) is None:
                outbox.close(wire.CLOSE_BAD_TOKEN, "the worker token is accepted no longer")

    async def _serve(
        self,
        socket: web.WebSocketResponse,
        outbox: Outbox,
        peer: str | None,
        rights: WorkerRights,
        *,
        speaks_v1: bool,
    ) -> None:
        try:
            registration = await _first_message(socket, wire.Register if speaks_v1 else wire.Registration)
        except ValueError as error:
            why = in_words(error) if isinstance(error, ValidationError) else str(error)
            self._log.warning("worker refused", peer=peer, reason=why)
            await close(socket, wire.CLOSE_BAD_REGISTRATION, why)
            return
        if registration is None:
            return
        if why := _beyond(rights, registration):
            self._log.warning("worker refused", peer=peer, token=rights.name, reason=why)
            await close(socket, wire.CLOSE_BAD_TOKEN, why)
            return
        protocol = wire.SUBPROTOCOL if speaks_v1 else "seed"
        who = registration.model_dump(include={"worker", "models", "fingerprint"})
        log = self._log.bind(peer=peer, protocol=protocol, connection=next(self._numbers), token=rights.name, **who)
        log.info("worker joined", **registration.model_dump(exclude={"type", *who}, exclude_defaults=True))
        try:
            if isinstance(registration, wire.Register):
                await V1Session(self._dispatcher, outbox, registration, rights, log).run(socket)
            else:
                await SeedSession(self._dispatcher, outbox).run(socket)
        finally:
            self._metrics.disconnects.labels(protocol).inc()
            log.info("worker left", close_code=socket.close_code)


def _beyond(rights: WorkerRights, registration: wire.Registration) -> str:
    """What the worker's token does not let it be, in words; empty if there is nothing."""
    if isinstance(registration, wire.Register):
        return beyond(rights, registration.models)
    return "" if rights.generalist else "the worker token is for workers that name their models (headrace.v1)"


def _offered(request: web.Request) -> set[str]:
    headers = request.headers.getall("Sec-WebSocket-Protocol", [])
    return {name.strip() for header in headers for name in header.split(",")}


async def _first_message(socket: web.WebSocketResponse, shape: type[wire.Registration]) -> wire.Registration | None:
    """The registration; None if the worker has left.

    Raises:
        ValueError: it is not one, or did not come in time.
    """
    try:
        frame = await socket.receive(timeout=_REGISTER_SECONDS)
    except TimeoutError:
        raise ValueError(f"no registration came within {_REGISTER_SECONDS} s") from None
    if frame.type not in {WSMsgType.TEXT, WSMsgType.BINARY}:
        return None
    return shape.model_validate_json(frame.data)
