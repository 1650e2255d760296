"""A proxy between one operator and the API server that records every request and misbehaves as it is told."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from tests.faults.api import CLOSE_SECONDS
from tests.faults.misbehaviour import Answer, Delay, Drop, Fate, Repeat, RequestFault, WatchFault

_WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_HOP_BY_HOP = frozenset({"connection", "content-length", "content-encoding", "transfer-encoding", "host"})
_LINE_BYTES = 2**24
"""A watch event is one line; objects have up to 1.5 MiB."""


@dataclass
class Call:
    """One request of the operator."""

    verb: str
    path: str
    query: dict[str, str]
    body: bytes = b""
    number: int = 0
    """Which write it is since the last `arm`, from 1; 0 for reads and for leases, which are renewed all the time."""
    status: int | None = None
    """What the operator was answered; None when it never was."""

    @property
    def writes(self) -> bool:
        """Whether it changes anything."""
        return self.verb in _WRITES

    def __str__(self) -> str:
        return f"{self.verb} {self.path} -> {self.status}"


OnCall = Callable[[Call], RequestFault | None]
OnEvent = Callable[[int], WatchFault | None]
"""By the number of the event since the last `arm`, from 1."""


@dataclass
class Proxy:
    """Forwards to `upstream`; `kill` ends the operator at once."""

    upstream: str
    session: aiohttp.ClientSession
    kill: Callable[[], None]
    port: int = 0
    calls: list[Call] = field(default_factory=list)
    on_call: OnCall = lambda _: None
    on_event: OnEvent = lambda _: None
    events: int = 0
    """Watch events since the last `arm`."""
    lag_seconds: float = 0.0
    """How late watches begin, so that an operator which was told a frozen list lives with it for so long."""
    stale_paths: Callable[[str], bool] = lambda _: True
    """Which lists are frozen."""
    fired: bool = False
    """Whether a fault has happened since the last `arm`."""
    held: int = 0
    """Watches that are late at the moment."""
    _numbered: int = 0
    _history: dict[str, list[bytes]] = field(default_factory=dict)
    _frozen: dict[str, bytes] | None = None

    def arm(self, on_call: OnCall | None = None, on_event: OnEvent | None = None) -> None:
        """Count from here, and misbehave as the scripts say; without scripts behave well."""
        self.on_call = on_call or (lambda _: None)
        self.on_event = on_event or (lambda _: None)
        self._numbered = self.events = 0
        self.fired = False

    def freeze(self) -> None:
        """From now on keep the first answer to each list, to tell it again until `thaw`.

        Lists of metadata alone are current always: by them the operator finds out what it has missed.
        """
        self._frozen = {}

    def thaw(self) -> None:
        """Answer lists as they are."""
        self._frozen = None
        self.lag_seconds = 0.0

    @property
    def writes(self) -> list[Call]:
        """All writes so far."""
        return [call for call in self.calls if call.writes]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One request of the operator."""
        call = Call(request.method, request.path, dict(request.query), await request.read())
        self.calls.append(call)
        if call.writes and "/leases" not in call.path:
            self._numbered += 1
            call.number = self._numbered
        fault = self.on_call(call)
        self.fired = self.fired or fault is not None
        if isinstance(fault, Answer):
            return _refuse(call, fault)
        if fault is Fate.HANG:
            await asyncio.Event().wait()
        if fault in {Fate.KILL_BEFORE, Fate.CUT_BEFORE}:
            return self._break(request, kill=fault is Fate.KILL_BEFORE)
        try:
            return await self._forward(request, call, fault)
        except aiohttp.ClientError:  # the API server is away
            return self._break(request, kill=False)

    async def _forward(self, request: web.Request, call: Call, fault: RequestFault | None) -> web.StreamResponse:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
        headers["Accept-Encoding"] = "identity"
        if call.query.get("watch") == "true":
            await asyncio.sleep(self.lag_seconds)
        async with self.session.request(
            call.verb, f"{self.upstream}{request.raw_path}", data=call.body or None, headers=headers
        ) as answer:
            if call.query.get("watch") == "true" and answer.status == 200:
                call.status = answer.status
                return await self._watch(request, answer)
            body = self._listed(call, request.headers.get("Accept", ""), await answer.read())
        if fault in {Fate.KILL_AFTER, Fate.CUT_AFTER}:
            return self._break(request, kill=fault is Fate.KILL_AFTER)
        call.status = answer.status
        kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP}
        return web.Response(body=body, status=answer.status, headers=kept)

    def _listed(self, call: Call, accept: str, body: bytes) -> bytes:
        whole_list = b'List"' in body[:100] and "PartialObjectMetadata" not in accept
        if self._frozen is None or not whole_list or not self.stale_paths(call.path):
            return body
        return self._frozen.setdefault(f"{call.path}?{sorted(call.query.items())}", body)

    async def _watch(self, request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        async for line in answer.content:
            event = json.loads(line)
            if event["type"] in {"BOOKMARK", "ERROR"}:
                await response.write(line)
                continue
            self.events += 1
            fault = self.on_event(self.events)
            self.fired = self.fired or fault is not None
            self.held += fault is not None
            try:
                await self._tell(response, event["object"]["metadata"]["uid"], line, fault)
            finally:
                self.held -= fault is not None
            if isinstance(fault, Drop):
                break
        return response

    async def _tell(self, response: web.StreamResponse, uid: str, line: bytes, fault: WatchFault | None) -> None:
        history = self._history.setdefault(uid, [])
        history.append(line)
        if isinstance(fault, Drop):
            await self._drop(response, fault)
            return
        if isinstance(fault, Delay):
            await asyncio.sleep(fault.seconds)
        await response.write(line)
        if isinstance(fault, Repeat):
            await response.write(history[0])
            await asyncio.sleep(fault.seconds)
            for old in history[1:] or history:
                await response.write(old)

    async def _drop(self, response: web.StreamResponse, fault: Drop) -> None:
        await asyncio.sleep(fault.seconds)  # whatever comes meanwhile is lost, too
        if fault.then == "gone":
            status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410}
            line = json.dumps({"type": "ERROR", "object": {**status, "message": "too old resource version"}})
            await response.write(line.encode() + b"\n")

    def _break(self, request: web.Request, *, kill: bool) -> web.Response:
        if kill:
            self.kill()
        if request.transport:
            request.transport.abort()
        return web.Response(status=502)  # goes nowhere


def _refuse(call: Call, answer: Answer) -> web.Response:
    call.status = answer.status
    headers = {} if answer.retry_after is None else {"Retry-After": str(answer.retry_after)}
    status: dict[str, Any] = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": answer.status}
    body = {**status, "reason": answer.reason, "message": f"{answer.reason}: said by the test"}
    return web.json_response(body, status=answer.status, headers=headers)


@asynccontextmanager
async def serve(upstream: str, certificate: str | None, kill: Callable[[], None]) -> AsyncIterator[Proxy]:
    """A proxy on a free port of loopback, plain HTTP; `certificate` is the authority of an upstream with TLS."""
    context = ssl.create_default_context(cafile=certificate) if certificate else None
    connector = aiohttp.TCPConnector(limit=0, ssl=context or True)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, read_bufsize=_LINE_BYTES) as session:
        proxy = Proxy(upstream, session, kill)
        application = web.Application(client_max_size=_LINE_BYTES)
        application.router.add_route("*", "/{path:.*}", proxy.handle)
        # a watch whose operator is gone must end, too
        runner = web.AppRunner(application, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        proxy.port = runner.addresses[0][1]
        try:
            yield proxy
        finally:
            await runner.cleanup()
    await asyncio.sleep(CLOSE_SECONDS)
