"""Health, readiness and metrics over HTTP, from a thread of their own: they answer also when the event loop does not.

`/healthz` says that a restart would help, and nothing else: the event loop is stuck, reconciles hang, or watches do. An
API server or a queue that is away is no such reason, for each request to them ends after 30 seconds. `/readyz` says
that the operator has seen everything there is and that the API server trusts its webhook.
"""

import asyncio
import json
import socket
import socketserver
import sys
import threading
import time
import traceback
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from headrace_operator.observed import Key

Reply = tuple[int, str, bytes]
"""HTTP status, content type, body."""

_BEAT_SECONDS = 1.0
_METRICS_SECONDS = 8.0
_CLIENT_SECONDS = 10.0

_log = structlog.get_logger()


@dataclass(frozen=True)
class Limits:
    """How long is too long, in seconds."""

    stuck: float = 15
    """The event loop has not turned; a look at a thousand models takes it well under one second."""
    hanging: float = 600
    """One reconcile: a dozen requests of at most 30 seconds each are no reason to end the operator."""
    blocked: float = 300
    """Every hand of the work queue is at one reconcile, so that no model is looked at any more."""
    deaf: float = 300
    """Lists have an object that no watch tells of: a watch hangs, or its CRD came after the operator."""


@dataclass
class Health:
    """What health and readiness are told from; every method may be called from any thread."""

    running: Callable[[], Mapping[Key, float]]
    """For each reconcile under way the seconds it has run."""
    hands: int
    """How many there can be at a time."""
    waited_for: Mapping[str, Callable[[], bool]]
    """What has to be in place before the operator is ready, in words, and whether it is."""
    limits: Limits = Limits()
    deaf: Callable[[], float] = lambda: 0.0
    """For how many seconds an object has been listed that no watch tells of."""
    _thread: int = field(default_factory=threading.get_ident)
    _turned: float = field(default_factory=time.monotonic)

    async def beat(self) -> None:
        """Note that the event loop turns, until cancelled."""
        while True:
            self._turned = time.monotonic()
            await asyncio.sleep(_BEAT_SECONDS)

    def sick(self) -> list[str]:
        """Why a restart would help; empty when it would not."""
        found = []
        silent = time.monotonic() - self._turned
        if silent > self.limits.stuck:
            found.append(f"the event loop has been stuck for {silent:.0f} s in {_where(self._thread)}")
        ages = self.running()
        found += [
            f"the reconcile of {'/'.join(key)} has run for {seconds:.0f} s"
            for key, seconds in ages.items()
            if seconds > self.limits.hanging
        ]
        if len(ages) >= self.hands and min(ages.values()) > self.limits.blocked:
            found.append(f"all {self.hands} reconciles at a time have run for over {self.limits.blocked:.0f} s")
        if (seconds := self.deaf()) > self.limits.deaf:
            found.append(f"the API server has listed an object for {seconds:.0f} s that no watch tells of")
        return found

    def missing(self) -> list[str]:
        """What the operator waits for before it is ready."""
        return [words for words, there in self.waited_for.items() if not there()]


@asynccontextmanager
async def serve(port: int, health: Health, registry: CollectorRegistry) -> AsyncIterator[int]:
    """Serve `/healthz`, `/readyz` and `/metrics` on `port`, on all addresses; 0 takes a free one, and it is yielded."""
    loop = asyncio.get_running_loop()

    async def collect() -> bytes:
        return generate_latest(registry)

    def metrics() -> Reply:
        # in the event loop, to which all that is counted belongs
        future = asyncio.run_coroutine_threadsafe(collect(), loop)
        try:
            return 200, CONTENT_TYPE_LATEST, future.result(_METRICS_SECONDS)
        except TimeoutError:
            future.cancel()
            return 503, "text/plain", b"the event loop is busy; /healthz says with what when it stays so\n"

    pages = {
        "/healthz": lambda: _state("ok", "unhealthy", health.sick()),
        "/readyz": lambda: _state("ready", "waiting", health.missing()),
        "/metrics": metrics,
    }
    server = _Server(("", port), _handler(pages))
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    beats = asyncio.create_task(health.beat())
    try:
        yield int(server.server_address[1])
    finally:
        beats.cancel()
        await asyncio.to_thread(server.shutdown)
        server.server_close()


class _Server(ThreadingHTTPServer):
    """On IPv4 and IPv6, where there is IPv6; without a look at the DNS for the machine's own name."""

    daemon_threads = True
    address_family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET

    def server_bind(self) -> None:
        """Take the port."""
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        socketserver.TCPServer.server_bind(self)


def _state(good: str, bad: str, reasons: list[str]) -> Reply:
    body = {"status": bad, "reasons": reasons} if reasons else {"status": good}
    return 503 if reasons else 200, "application/json", json.dumps(body).encode() + b"\n"


def _handler(pages: Mapping[str, Callable[[], Reply]]) -> type[BaseHTTPRequestHandler]:
    unknown: Reply = (404, "text/plain", f"there are {', '.join(pages)}\n".encode())

    class Handler(BaseHTTPRequestHandler):
        timeout = _CLIENT_SECONDS

        def do_GET(self) -> None:
            page = pages.get(self.path.partition("?")[0])
            status, kind, body = page() if page else unknown
            if self.path == "/healthz" and status != 200:
                _log.error("unhealthy", body=body.decode().strip())
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing: probes come every few seconds."""

    return Handler


def _where(thread: int) -> str:
    """The innermost lines that a thread is in."""
    frame = sys._current_frames().get(thread)  # noqa: SLF001  # there is no other way to ask from outside
    if frame is None:
        return "a thread that has ended"
    stack = traceback.extract_stack(frame)[-3:]
    return " < ".join(f"{one.name} ({one.filename.rpartition('/')[2]}:{one.lineno})" for one in reversed(stack))
