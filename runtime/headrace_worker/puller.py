"""Keeps the worker connected to its queue, for ever: connect, serve, and when the connection ends, connect again."""

import asyncio
import contextlib
import random
import socket
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import structlog

from headrace_api import wire
from headrace_api.wire import SUBPROTOCOL, WORKER_PATH, Register, Registration
from headrace_worker import queue_poll
from headrace_worker.seed import SeedSession
from headrace_worker.session import QueueSocket, Session
from headrace_worker.status import Status
from headrace_worker.unacked import Unacked
from headrace_worker.v1 import V1Session

FIRST_DELAY_S = 0.2
SLOWEST_DELAY_S = 10.0
_LARGEST_REQUEST_BYTES = 128 << 20
_HEARTBEAT_S = 20.0
_CLOSE_S = 2.0
_CONNECT_S = 30.0
_REGISTERED_S = 10.0
REFUSED_S = 5.0
"""Refused for so long without a break, a worker that can be started anew gives up: see `Puller.until_refused`.

With the pauses between attempts this comes before the worker's probes say that it has started without its queue, so
that those who see the probes only are told one cause, not two in turn.
"""
_KEEPALIVE = {socket.TCP_KEEPIDLE: 20, socket.TCP_KEEPINTVL: 10, socket.TCP_KEEPCNT: 3}

_REFUSED_401 = (
    "the queue does not accept this worker's token: give the right one in HEADRACE_QUEUE_TOKEN or a file "
    "named by HEADRACE_QUEUE_TOKEN_FILE; the worker tries again"
)
_REFUSED_REGISTRATION = (
    "the queue does not accept this worker's registration: see the reason; the versions of queue and worker may be too "
    "far apart, or the model may be unknown there; the worker tries again"
)

log = structlog.get_logger()


def worker_url(url: str) -> str:
    """The WebSocket address for a configuration's `queue.url` (see `headrace_api.worker_config.Queue.url`)."""
    parts = urlsplit(url)
    path = parts.path.rstrip("/")
    if parts.scheme in {"ws", "wss"} and path:
        return url
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    return urlunsplit((scheme, parts.netloc, path + WORKER_PATH, parts.query, ""))


def retry_delay(failures: int, fast_retries: int, chance: float) -> float:
    """Seconds to wait after so many failures in a row (from 1): doubling while retries are fast, then the slowest.

    `chance`, from 0 to 1, spreads the delay over its upper half, so that a fleet of workers does not return at once.
    """
    fast = failures <= fast_retries
    longest = min(FIRST_DELAY_S * 2.0 ** min(failures - 1, 30), SLOWEST_DELAY_S) if fast else SLOWEST_DELAY_S
    return longest * (0.5 + 0.5 * chance)


class _Socket(aiohttp.ClientWebSocketResponse):
    """Sends WebSocket pings to a Headrace queue only: a Spider may not read, and so not answer, between requests."""

    def __init__(
        self, reader: Any, writer: Any, protocol: str | None, *more: Any, heartbeat: float | None = None, **options: Any
    ) -> None:
        known = protocol == SUBPROTOCOL
        super().__init__(reader, writer, protocol, *more, heartbeat=heartbeat if known else None, **options)


def _keep_alive(connection: aiohttp.ClientWebSocketResponse) -> None:
    """Have the kernel notice a peer that is gone, where there are no pings."""
    tcp = connection.get_extra_info("socket")
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE.items():
        tcp.setsockopt(socket.IPPROTO_TCP, option, value)


@dataclass(frozen=True)
class PullPlan:
    """What a connection needs to know."""

    url: str
    token: str | None
    register: Register
    """Without what changes: state and capacity; its adapters are those that there shall be when it is ready."""
    fast_retries: int


class Puller:
    """The reconnect loop. `run` ends only after `drain`.

    It connects at once. With a Headrace queue it registers at once, too, and takes jobs when the worker is ready; with
    a Spider it registers only then.
    """

    def __init__(self, plan: PullPlan, status: Status) -> None:
        self._plan = plan
        self._status = status
        self._unacked = Unacked()
        self._session: Session | None = None
        self._stopping = asyncio.Event()
        self._is_spider = False
        self._may_be_spider = False
        self._is_headrace = False
        """Whether it has answered a registration: it is no Spider then, however slow it may be later."""
        self._was_early = False
        """Whether a Spider closed the last connection before the worker was ready to register."""
        self._refusal: str | None = None
        self._refused_since = 0.0
        self._gives_up_because = ""
        self._given_up = asyncio.Event()

    async def until_refused(self) -> str:
        """Return, with what the queue said, once it has refused this worker for `REFUSED_S` seconds without a break.

        Waiting on is of no use: the token is read when the worker starts.
        """
        await self._given_up.wait()
        return self._gives_up_because

    async def run(self) -> None:
        """Serve until `drain` is called."""
        failures = 0
        async with aiohttp.ClientSession(ws_response_class=_Socket) as http:
            while not self._stopping.is_set():
                before, self._refusal = self._refusal, None
                await self._until_welcome()
                served = await self._connect_and_serve(http)
                self._judge(before)
                failures = 1 if served else failures + 1
                delay = retry_delay(failures, self._plan.fast_retries, random.random())  # noqa: S311 (no secret)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), delay)

    async def _until_welcome(self) -> None:
        """Keep away, until the worker is ready, from a Spider that would send requests before, or was left waiting."""
        if (self._is_spider or self._may_be_spider or self._was_early) and not self._status.offered:
            ready = asyncio.create_task(self._status.until_offered())
            stopping = asyncio.create_task(self._stopping.wait())
            try:
                await asyncio.wait({ready, stopping}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                ready.cancel()
                stopping.cancel()

    def _judge(self, before: str | None) -> None:
        """Note whether the last attempt was refused, and whether that has gone on for long."""
        if self._refusal and not before:
            self._refused_since = time.monotonic()
        if self._refusal and time.monotonic() - self._refused_since >= REFUSED_S:
            self._gives_up_because = f"the queue at {self._plan.url} refuses {self._refusal}"
            self._given_up.set()

    async def drain(self, reason: str, patience_s: float) -> None:
        """Leave the queue in good order (see `Session.drain`); afterwards `run` ends."""
        self._stopping.set()
        if self._session:
            await self._session.drain(reason, patience_s)

    async def _connect_and_serve(self, http: aiohttp.ClientSession) -> bool:
        """Whether the connection got as far as being registered."""
        if (offer := self._status.offered) and not await offer.engine.healthy():
            log.warning("the engine does not answer its health check; the worker does not connect to the queue")
            return False
        headers = {"Authorization": f"Bearer {self._plan.token}"} if self._plan.token else {}
        try:
            async with asyncio.timeout(_CONNECT_S):
                connection = await http.ws_connect(
                    self._plan.url,
                    protocols=() if self._is_spider or self._may_be_spider else (SUBPROTOCOL,),
                    headers=headers,
                    heartbeat=_HEARTBEAT_S,
                    timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSE_S),
                    max_msg_size=_LARGEST_REQUEST_BYTES,
                )
        except aiohttp.WSServerHandshakeError as error:
            if error.status not in {401, 403}:
                return await self._poll_and_serve(http, headers, error.status)
            self._refusal = f"this worker's token (status {error.status})"
            log.error(_REFUSED_401, status=error.status)  # noqa: TRY400 (the status says it all)
            return False
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            log.warning("cannot reach the queue", url=self._plan.url, error=f"{type(error).__name__}: {error}")
            return False
        return await self._serve(connection)

    async def _poll_and_serve(self, http: aiohttp.ClientSession, headers: dict[str, str], status: int) -> bool:
        """Where a proxy answered the WebSocket's request itself: by plain HTTP, if the queue is behind it."""
        plan = self._plan
        try:
            async with asyncio.timeout(_CONNECT_S):
                connection = await queue_poll.opened(http, plan.url, headers, plan.fast_retries)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            why = f"{type(error).__name__}: {error}"
            log.error("the queue refused the connection", status=status, polling=why)  # noqa: TRY400 (it says it all)
            return False
        log.warning("no WebSocket comes through to the queue: it is polled", url=plan.url, status=status)
        return await self._serve(connection)

    async def _serve(self, connection: QueueSocket) -> bool:
        self._status.metrics.connections.inc()
        session = self._session = self._session_for(connection)
        self._may_be_spider = False
        watch = asyncio.create_task(self._watch(session, connection))
        if self._stopping.is_set():
            await connection.close()
        try:
            await session.run()
        finally:
            self._session = None
            self._status.set_registered(False)
            watch.cancel()
        if isinstance(session, V1Session):
            self._is_spider |= session.is_spider
        else:
            self._was_early = self._status.offered is None
        self._report_end(connection)
        return session.registered.is_set()

    def _session_for(self, connection: QueueSocket) -> Session:
        plan, status = self._plan, self._status
        if connection.protocol == SUBPROTOCOL:
            return V1Session(connection, plan.register, status, self._unacked)
        if not isinstance(connection, aiohttp.ClientWebSocketResponse):
            raise TypeError("a Spider is not polled")
        machine = Registration.model_validate(plan.register.model_dump())
        _keep_alive(connection)
        return SeedSession(connection, machine, status)

    async def _watch(self, session: Session, connection: QueueSocket) -> None:
        if isinstance(session, SeedSession):
            await self._status.until_offered()
        try:
            await asyncio.wait_for(session.registered.wait(), _REGISTERED_S)
        except TimeoutError:
            # A Spider whose library takes the first subprotocol that is offered would not. For one connection only:
            # it may as well be a slow Headrace queue.
            log.warning("the queue does not answer the registration", waited_seconds=_REGISTERED_S)
            self._may_be_spider = not self._is_headrace
            await connection.close()
            return
        self._is_headrace |= isinstance(session, V1Session)
        log.info("registered with the queue", url=self._plan.url, protocol=type(session).__name__)
        self._status.set_registered(True)

    def _report_end(self, connection: QueueSocket) -> None:
        code = connection.close_code
        match code:
            case _ if self._stopping.is_set():
                log.info("left the queue")
            case _ if self._is_spider and connection.protocol:
                log.warning("the queue took the subprotocol but does not speak it: from now on it is a Spider")
            case wire.CLOSE_BAD_TOKEN:
                self._refusal = f"this worker's token (close code {code})"
                log.error(_REFUSED_401, close_code=code)
            case wire.CLOSE_BAD_REGISTRATION:
                self._refusal = f"this worker's registration (close code {code})"
                log.error(_REFUSED_REGISTRATION, close_code=code)
            case _:
                log.warning("the connection to the queue ended", close_code=code)
