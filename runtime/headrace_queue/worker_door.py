"""`GET /worker`: lets workers in, and chooses the protocol that they speak."""

import asyncio
import itertools

import structlog
from aiohttp import WSCloseCode, WSMsgType, web
from pydantic import ValidationError

from headrace_api import wire
from headrace_queue.aiohttp_errors import error_response
from headrace_queue.conduct import ConductError
from headrace_queue.connection import PatientSocket, keep_alive
from headrace_queue.errors import ApiError
from headrace_queue.invalid import in_words
from headrace_queue.keys.worker_tokens import WorkerRights, WorkerTokens
from headrace_queue.metrics import Metrics
from headrace_queue.outbox import Outbox, Socket, close
from headrace_queue.seed_socket import SeedSession
from headrace_queue.worker_socket import Replica, RightsError, V1Session

_REGISTER_SECONDS = 10
_SHOWN_CHARACTERS = 100
_LONGEST_NAME = 253
"""Characters, as `wire.Register.worker` has at most."""
MAX_FRAME_BYTES = 64 * 2**20
"""Of what a worker sends at once, whatever it comes through."""


class WorkerDoor:
    """Checks each worker's token, registration and rights, then runs its session."""

    def __init__(
        self,
        replica: Replica,
        metrics: Metrics,
        log: structlog.typing.FilteringBoundLogger,
        tokens: WorkerTokens,
        heartbeat_seconds: float,
    ) -> None:
        self._replica = replica
        self._metrics = metrics
        self._log = log
        self._tokens = tokens
        self._heartbeat_seconds = heartbeat_seconds
        self._numbers = itertools.count(1)
        self._open: dict[Outbox, tuple[str | None, WorkerRights | None]] = {}
        """With the token that each came with, and what it was for then."""
        tokens.watch(self._look_again)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one worker on a WebSocket until it leaves."""
        offered = _offered(request)
        speaks_v1 = wire.SUBPROTOCOL in offered
        if offered and not speaks_v1:
            return self._refuse_protocols(request, offered)
        if (refusal := self.refusal(request, may_come_later=not speaks_v1)) is not None:
            return refusal
        socket = PatientSocket(
            protocols=(wire.SUBPROTOCOL,) if speaks_v1 else (),
            heartbeat=self._heartbeat_seconds if speaks_v1 else None,
            timeout=2,
            compress=False,
            max_msg_size=MAX_FRAME_BYTES,
        )
        await socket.prepare(request)
        keep_alive(request)
        await self.serve(socket, token_of_request(request), request.remote, speaks_v1=speaks_v1)
        return socket

    def refusal(self, request: web.Request, *, may_come_later: bool) -> web.Response | None:
        """What a worker is told whose token is not accepted; None where it is, or may yet come in the registration."""
        token = token_of_request(request)
        if self._tokens.rights(token) is not None or (token is None and may_come_later):
            return None
        self._log.warning("worker refused", peer=request.remote, reason="token")
        message = "This queue needs `Authorization: Bearer TOKEN` with its worker token."
        headers = {"WWW-Authenticate": "Bearer"}
        return error_response(ApiError(401, "invalid_worker_token", message, headers=headers))

    def _refuse_protocols(self, request: web.Request, offered: set[str]) -> web.Response:
        """For a worker that speaks none of this queue's protocols, and is none of the seed's: that one offers none."""
        names = ", ".join(sorted(offered))[:_SHOWN_CHARACTERS]
        self._log.warning("worker refused", peer=request.remote, reason="subprotocol", offered=names)
        message = (
            f"`Sec-WebSocket-Protocol` is {names!r}: accepted is {wire.SUBPROTOCOL}, or none for the seed's protocol."
        )
        return error_response(ApiError(400, "unknown_subprotocol", message))

    async def serve(self, socket: Socket, token: str | None, peer: str | None, *, speaks_v1: bool) -> None:
        """Serve one worker until it leaves, whatever its frames come through."""
        async with Outbox(socket, wire.encode_messages if speaks_v1 else iter) as outbox:
            try:
                await self._serve(socket, outbox, token, peer, speaks_v1=speaks_v1)
            finally:
                self._open.pop(outbox, None)

    async def close(self) -> None:
        """Close every connection, after what is still to be sent: the queue stops."""
        await asyncio.gather(*(each.close_and_wait(WSCloseCode.GOING_AWAY, "the queue stops") for each in self._open))

    async def _serve(
        self, socket: Socket, outbox: Outbox, token: str | None, peer: str | None, *, speaks_v1: bool
    ) -> None:
        self._open[outbox] = (token, None)
        try:
            registration = await _first_message(socket, wire.Register if speaks_v1 else wire.SeedRegistration)
            token = token or (registration.auth_key if isinstance(registration, wire.SeedRegistration) else None)
            rights = self._tokens.rights(token)
            self._open[outbox] = (token, rights)
            why = _excess(rights, registration) if rights and registration else ""
        except ValueError as error:
            why, rights, registration = (
                in_words(error) if isinstance(error, ValidationError) else str(error),
                None,
                None,
            )
        if why:
            self._log.warning("worker refused", peer=peer, reason=why)
            await close(socket, wire.CLOSE_BAD_REGISTRATION, why)
            return
        if registration is None:
            return
        if rights is None:
            self._log.warning("worker refused", peer=peer, reason="token")
            await close(socket, wire.CLOSE_BAD_TOKEN, "the worker token is not accepted, or missing")
            return
        await self._run(socket, outbox, registration, rights, peer)

    async def _run(
        self, socket: Socket, outbox: Outbox, registration: wire.Registration, rights: WorkerRights, peer: str | None
    ) -> None:
        protocol = wire.SUBPROTOCOL if isinstance(registration, wire.Register) else "seed"
        who = registration.model_dump(include={"worker", "models", "fingerprint"})
        log = self._log.bind(peer=peer, protocol=protocol, connection=next(self._numbers), **who)
        if rights.name:
            log = log.bind(token=rights.name)
        told = registration.model_dump(exclude={"type", "auth_key", *who}, exclude_defaults=True)
        log.info("worker joined", **told)
        try:
            if isinstance(registration, wire.Register):
                await _serve_v1(V1Session(self._replica, outbox, registration, rights, log), socket, log)
            else:
                name = (registration.ln_url or peer or "")[:_LONGEST_NAME]  # the seed's protocol has no other one
                session = SeedSession(self._replica.dispatcher, outbox, name, registration.vram, log)
                await session.run(socket)
        finally:
            self._metrics.disconnects.labels(protocol).inc()
            log.info("worker left", close_code=socket.close_code)

    def _look_again(self) -> None:
        """Tokens have changed: a worker whose token is not accepted any more, or may do less, must come anew."""
        for outbox, (token, before) in self._open.items():
            rights = self._tokens.rights(token)
            if before is None:
                continue  # it has not registered yet
            if rights is None:
                outbox.close(wire.CLOSE_BAD_TOKEN, "the worker token is not accepted any more")
            elif rights != before:
                outbox.close(WSCloseCode.SERVICE_RESTART, "the rights of the worker token have changed")


async def _serve_v1(session: V1Session, socket: Socket, log: structlog.typing.FilteringBoundLogger) -> None:
    """Serve a worker until its connection ends."""
    try:
        async for frame in socket:
            session.take(frame)
    except ValueError as error:
        await close(socket, WSCloseCode.PROTOCOL_ERROR, str(error))
    except RightsError as error:
        log.warning("worker refused", reason=str(error))
        await close(socket, wire.CLOSE_BAD_REGISTRATION, str(error))
    except ConductError as error:
        log.error("worker cut off", reason=str(error))  # noqa: TRY400 (the reason says it all)
        await close(socket, WSCloseCode.POLICY_VIOLATION, str(error))
    finally:
        session.leave()


def _excess(rights: WorkerRights, registration: wire.Registration) -> str:
    """What a worker asks for beyond its rights, in words; empty where nothing is."""
    if not isinstance(registration, wire.Register):
        return "" if rights.generalist else f"models: the token {rights.name!r} is for workers that name their models"
    return rights.excess(registration.models)


def token_of_request(request: web.Request) -> str | None:
    """The token in the `Authorization` header; None without one."""
    header = request.headers.get("Authorization", "")
    scheme, _, token = header.partition(" ")
    if not header:
        return None
    return token.strip() if scheme.lower() == "bearer" else ""


def _offered(request: web.Request) -> set[str]:
    headers = request.headers.getall("Sec-WebSocket-Protocol", [])
    return {name.strip() for header in headers for name in header.split(",")} - {""}


async def _first_message(socket: Socket, shape: type[wire.Registration]) -> wire.Registration | None:
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
