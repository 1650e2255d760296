"""Keeps the worker connected to one replica of its queue: connect, serve, and when the connection ends, connect again.

`headrace_worker.replicas` has one of these for each address of the queue.
"""

import asyncio
import contextlib
import random
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import structlog
from aiohttp.abc import ResolveResult
from aiohttp.resolver import ThreadedResolver

from headrace_api import wire
from headrace_api.wire import SUBPROTOCOL, WORKER_PATH, Register, Registration
from headrace_worker import queue_poll
from headrace_worker.seed import SeedSession
from headrace_worker.session import QueueSocket, Session
from headrace_worker.shared import Shared
from headrace_worker.v1 import V1Session

FIRST_DELAY_S = 0.2
SLOWEST_DELAY_S = 10.0
_LARGEST_REQUEST_BYTES = 128 << 20
_HEARTBEAT_S = 20.0
_CLOSE_S = 2.0
_CONNECT_S = 30.0
_REGISTERED_S = 10.0
REFUSED_S = 5.0
"""Refused for so long without a break, a worker that can be started anew gives up: see `Replicas.until_refused`.

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


def _address(connection: QueueSocket) -> str:
    """The IP address of the other end; empty when it is gone, and of a long poll, which has no one connection."""
    found = connection.get_extra_info("peername") if isinstance(connection, aiohttp.ClientWebSocketResponse) else None
    return str((found or ("",))[0])


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
    tls: ssl.SSLContext | None = None
    """None for the system's authorities."""


class Route(ThreadedResolver):
    """Where a connection goes: `address`, or wherever the name resolves to while that is None.

    Only the address is pinned, and the port if there is one: URL, Host header and the name in the TLS handshake stay
    those of the URL.
    """

    def __init__(self, address: str | None = None, port: int | None = None) -> None:
        super().__init__()
        self.address = address
        self.port = port

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """See `aiohttp.abc.AbstractResolver.resolve`."""
        found = await super().resolve(self.address or host, self.port or port, family)
        return [ResolveResult(**{**one, "hostname": host}) for one in found]


class Puller:
    """The reconnect loop. `run` ends only after `drain`, or when `last` is set and no connection is open.

    It connects at once. With a Headrace queue it registers at once, too, and takes jobs when the worker is ready; with
    a Spider it registers only then.
    """

    def __init__(self, plan: PullPlan, shared: Shared, route: Route, tell: Callable[[], None]) -> None:
        """`tell` is called when `registered` has changed."""
        self.registered = False
        """Whether the queue knows the worker by this connection."""
        self.replica = ""
        """What the replica that it was connected with last calls itself; empty for a Spider."""
        self.replicas = ""
        """Where that replica says that all of them are."""
        self.last = False
        """Whether there is no other connection after this one."""
        self.route = route
        self._tell = tell
        self._plan = plan
        self._shared = shared
        self._status = shared.status
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
        self._dismissed = False
        """Whether the queue ended the last connection because it drains."""
        self._gives_up_because = ""

    async def run(self) -> None:
        """Serve until `drain` is called."""
        failures = 0
        connector = aiohttp.TCPConnector(resolver=self.route, use_dns_cache=False)
        async with aiohttp.ClientSession(connector=connector, ws_response_class=_Socket) as http:
            while not self._stopping.is_set() and not self.last:
                before, self._refusal = self._refusal, None
                await self._until_welcome()
                served = await self._connect_and_serve(http)
                self._judge(before)
                again = self._dismissed and failures  # it drains: it has said so to each connection
                failures = 1 if served and not again else failures + 1
                delay = retry_delay(failures, self._plan.fast_retries, random.random())  # noqa: S311 (no secret)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(delay):
                        await self._stopping.wait()

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
        if not self._refusal:
            self._gives_up_because = ""
        long = self._refusal and time.monotonic() - self._refused_since >= REFUSED_S
        if long:
            self._gives_up_because = f"the queue at {self._plan.url} refuses {self._refusal}"
            self._tell()

    async def finish(self, reason: str, patience_s: float) -> None:
        """Take no more requests and finish those under way (see `Session.finish`), without connecting again."""
        self._stopping.set()
        if self._session:
            await self._session.finish(reason, patience_s)

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
                    ssl=self._plan.tls or True,
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
                connection = await queue_poll.opened(http, plan.url, headers, plan.fast_retries, plan.tls)
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
            self._note_registered(False)
            watch.cancel()
        self._dismissed = isinstance(session, V1Session) and session.dismissed
        if isinstance(session, V1Session):
            self._is_spider |= session.is_spider
        else:
            self._was_early = self._status.offered is None
        self._report_end(connection)
        return session.registered.is_set()

    def _session_for(self, connection: QueueSocket) -> Session:
        plan, status = self._plan, self._status
        if connection.protocol == SUBPROTOCOL:
            return V1Session(connection, plan.register, self._shared, _address(connection))
        if not isinstance(connection, aiohttp.ClientWebSocketResponse):
            raise TypeError("a Spider is not polled")
        machine = Registration.model_validate(plan.register.model_dump())
        _keep_alive(connection)
        return SeedSession(connection, machine, status)

    async def _watch(self, session: Session, connection: QueueSocket) -> None:
        if isinstance(session, SeedSession):
            await self._status.until_offered()
        try:
            async with asyncio.timeout(_REGISTERED_S):
                await session.registered.wait()
        except TimeoutError:
            # A Spider whose library takes the first subprotocol that is offered would not. For one connection only:
            # it may as well be a slow Headrace queue.
            log.warning("the queue does not answer the registration", waited_seconds=_REGISTERED_S)
            self._may_be_spider = not self._is_headrace
            await connection.close()
            return
        if isinstance(session, V1Session):
            self._is_headrace, self.replica, self.replicas = True, session.replica, session.replicas
            if self.route.address is None and session.replica:
                self.route.address = _address(connection) or None
        protocol, address = type(session).__name__, _address(connection)
        log.info("registered with the queue", url=self._plan.url, address=address, protocol=protocol)
        self._note_registered(True)

    def _note_registered(self, registered: bool) -> None:
        self.registered = registered
        self._tell()

    @property
    def refused(self) -> str:
        """What the queue said to refuse this worker for `REFUSED_S` seconds; empty when it did not."""
        return self._gives_up_because

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
