"""Keeps the worker connected to every replica of its queue, for ever.

At first there is one connection, to whichever address answers, as for any server. If it is a replica that knows of
others (`wire.Registered.replica`) there is one for each address from then on: of the URL's host, or of where the
replica says that they are. With a Spider, and with a queue of an earlier version, it stays at the one: they would take
several connections for several workers.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import structlog

from headrace_worker.addresses import ALIAS_S, ALONE_S, LOOK_S, changes
from headrace_worker.puller import Puller, PullPlan, Route
from headrace_worker.shared import Shared
from headrace_worker.status import Status
from headrace_worker.tasks import end

_PATIENCE_S = 3600.0
"""A replica that is left may still wait for answers, as long as requests may take."""

LookUp = Callable[[str], Awaitable[set[str]]]

log = structlog.get_logger()


async def look_up(host: str) -> set[str]:
    """All addresses of a name.

    Raises:
        OSError: there is no answer.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return {str(address[0]) for *_, address in found}


class Replicas:
    """The connections to all replicas. `run` ends only after `drain`."""

    def __init__(self, plan: PullPlan, status: Status, look_up: LookUp = look_up) -> None:
        self._plan = plan
        self._status = status
        self._look_up = look_up
        self._shared = Shared.of(status)
        self._pullers: dict[Puller, asyncio.Task[None]] = {}
        self._seen: dict[str, float] = {}
        """When each connection's address was looked up last with success."""
        self._avoid: dict[str, float] = {}
        self._left: set[Puller] = set()
        """Those that are being drained."""
        self._served_at = 0.0
        """When somebody was registered last."""
        self._beside: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._news = asyncio.Event()
        self._given_up = asyncio.Event()
        self._refused = ""

    async def until_refused(self) -> str:
        """Return, with what the queue said, once it has refused this worker for so long that waiting is of no use.

        The token is read when the worker starts. Where one replica refuses it and another does not, there is work.
        """
        await self._given_up.wait()
        return self._refused

    async def run(self) -> None:
        """Serve until `drain` is called."""
        self._begin_anew()
        try:
            while self._pullers or not self._stopping:
                self._news.clear()
                await self._wait()
                self._reap()
                if not self._stopping:
                    await self._follow()
        finally:
            await end(*self._pullers.values(), *self._beside, expected=(Exception,))

    async def drain(self, reason: str, patience_s: float) -> None:
        """Leave the queue in good order (see `Session.drain`); afterwards `run` ends.

        No connection is left before the requests of all have ended: should a replica die meanwhile, another one is told
        what its requests have cost.
        """
        self._stopping = True
        self._shared.unacked.hand_over()
        self._news.set()
        began = time.monotonic()
        await asyncio.gather(*(puller.finish(reason, patience_s) for puller in self._pullers))
        patience_s = max(0.0, patience_s - (time.monotonic() - began))
        await asyncio.gather(*(puller.drain(reason, patience_s) for puller in self._pullers))

    # ---- connections

    def _start(self, puller: Puller) -> None:
        task = self._pullers[puller] = asyncio.create_task(puller.run())
        task.add_done_callback(lambda _: self._news.set())

    def _reap(self) -> None:
        """Forget connections that have ended for good."""
        for puller, task in list(self._pullers.items()):
            if task.done():
                del self._pullers[puller]
                self._left.discard(puller)
                self._seen.pop(puller.route.address or "", None)
                task.result()
        for task in [task for task in self._beside if task.done()]:
            self._beside.discard(task)
            task.result()

    async def _wait(self) -> None:
        # not `wait_for`, which forgets that it was cancelled when the event comes at the same time
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_S):
                await self._news.wait()

    async def _follow(self) -> None:
        """Look up where the replicas are, and connect to what has come."""
        now = time.monotonic()
        told = next((puller for puller in self._pullers if puller.registered), None)
        if told is None:
            if now - self._served_at > ALONE_S:
                self._begin_anew()
            return
        self._served_at = now
        if not told.replica or not told.route.address:
            return
        host, port = _place(told.replicas)
        try:
            found = await self._look_up(host or urlsplit(self._plan.url).hostname or "")
        except OSError as error:
            log.warning("the queue's name cannot be looked up; its connections stay", error=str(error))
            return
        self._apply(found, port, now)

    def _begin_anew(self) -> None:
        """Have one connection that goes wherever the URL leads."""
        self._served_at = time.monotonic()
        if all(puller.route.address for puller in self._pullers):
            self._start(Puller(self._plan, self._shared, Route(), self._tell))

    def _apply(self, found: set[str], port: int | None, now: float) -> None:
        for puller in self._pullers:
            if not (address := puller.route.address):
                continue
            self._seen[address] = now if address in found else self._seen.get(address, now)
            puller.last = bool(found) and address not in found
        due = changes(found, self._seen, self._avoid, now)
        for address in due.connect:
            log.info("another replica of the queue", address=address)
            self._seen[address] = now
            self._start(Puller(self._plan, self._shared, Route(address, port), self._tell))
        for puller in list(self._pullers):
            others = any(other.registered for other in self._pullers.keys() - self._left - {puller})
            if puller.route.address in due.leave and others and puller not in self._left:
                self._leave(puller, "the queue's name does not resolve to this address any more")

    def _leave(self, puller: Puller, reason: str) -> None:
        self._left.add(puller)
        log.info("leaving a connection with the queue", address=puller.route.address, reason=reason)
        self._seen.pop(puller.route.address or "", None)
        self._beside.add(asyncio.create_task(puller.drain(reason, _PATIENCE_S)))

    # ---- what they tell

    def _tell(self) -> None:
        """A connection is registered, or is not any more, or is refused."""
        registered = [puller for puller in self._pullers if puller.registered]
        if bool(registered) != self._status.registered:
            self._status.set_registered(bool(registered))
        self._leave_twins(registered)
        refused = [puller.refused for puller in self._pullers if puller.refused]
        if refused and not registered:
            self._refused = refused[0]
            self._given_up.set()
        self._news.set()

    def _leave_twins(self, registered: list[Puller]) -> None:
        """A replica that has two addresses needs one connection only."""
        known: set[str] = set()
        for puller in sorted(registered, key=lambda one: one.last):  # one that ends anyhow is the one to leave
            if puller.replica and puller.replica in known and puller not in self._left:
                puller.last = True
                self._avoid[puller.route.address or ""] = time.monotonic() + ALIAS_S
                self._leave(puller, "it is connected by another address")
            known.add(puller.replica)


def _place(told: str) -> tuple[str, int | None]:
    """Host and port of `wire.Registered.replicas`."""
    host, _, port = told.rpartition(":")
    return (host.strip("[]"), int(port)) if host and port.isdecimal() else ("", None)
