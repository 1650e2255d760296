"""A candidate for the Lease: takes it when it may, renews it, gives it back."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

import structlog
from prometheus_client import CollectorRegistry, Counter

from headrace_operator.election.decision import Seen, Step, look, released, step, taken
from headrace_operator.election.leadership import Leadership, boot_clock
from headrace_operator.observed import Object
from headrace_operator.settings import LeaseSettings

_POLL_SECONDS = 1.0
"""How often one that waits reads the Lease: a request, no write."""
_RETRY_SECONDS = 0.5
_RENEWALS_PER_DEADLINE = 5

_log = structlog.get_logger()


class Store(Protocol):
    """One Lease in the API server."""

    async def get(self) -> Object | None:
        """The Lease; None when there is none."""

    async def create(self, spec: Object) -> Object | None:
        """The new Lease; None when there is one."""

    async def replace(self, read: Object, spec: Object) -> Object | None:
        """The changed Lease; None when it is no longer the one that was read."""


class Candidate:
    """Keeps `leadership` in step with the Lease."""

    def __init__(
        self,
        store: Store,
        leadership: Leadership,
        settings: LeaseSettings,
        registry: CollectorRegistry,
        clock: Callable[[], float] = boot_clock,
    ) -> None:
        self._store = store
        self._leadership = leadership
        self._settings = settings
        self._clock = clock
        self._seen: Seen | None = None
        self._known = False
        """Whether `_seen` is one's own last write, which need not be read again before the next one."""
        text = "Writes to the Lease, which are apart from those to models and their objects."
        self._writes = Counter("headrace_operator_lease_writes", text, registry=registry)

    async def run(self) -> None:
        """Stand for election until cancelled; an API server that does not answer is asked again."""
        led = False
        said = ""
        while True:
            try:
                delay, said = await self._turn(), ""
            except Exception as error:  # noqa: BLE001  # whatever it is, the next attempt may succeed
                self._known = False
                before, said = said, f"{type(error).__name__}: {error}"[:300]
                if said != before:
                    _log.warning("cannot read or write the Lease, trying again", lease=self._name, error=said)
                delay = _RETRY_SECONDS
            if led != (led := self._leadership.may_write()):
                _log.info("leading" if led else "not leading", lease=self._name, identity=self._settings.identity)
            await asyncio.sleep(delay)

    async def release(self) -> None:
        """Write no longer, and let the next one begin at once. Call it when nothing that writes runs any more."""
        self._leadership.lose()
        try:
            for _ in range(2):  # a renewal may have been under way when it was cancelled
                seen = await self._newest()
                self._known = False
                if seen.lease is None or seen.holder != self._settings.identity:
                    return
                if await self._store.replace(seen.lease, released(seen)):
                    _log.info("gave the Lease back", lease=self._name)
                    return
        except Exception as error:  # noqa: BLE001  # the process ends; without it the next one waits for the Lease's end
            _log.warning("could not give the Lease back", lease=self._name, error=repr(error)[:300])

    async def _turn(self) -> float:
        """One step; returns after how many seconds the next one is due."""
        seen = await self._newest()
        me = self._settings.identity
        if seen.holder not in {"", me}:
            self._leadership.lose()
        now = self._clock()
        if step(seen, me, now, leading=self._leadership.may_write()) is Step.WAIT:
            return min(_POLL_SECONDS, max(seen.taken_until - now, 0.0))
        return await self._take(seen, now)

    async def _take(self, seen: Seen, now: float) -> float:
        spec = taken(seen, self._settings.identity, self._settings.seconds, datetime.now(UTC))
        self._known = False
        self._writes.inc()
        store = self._store
        lease = await (store.create(spec) if seen.lease is None else store.replace(seen.lease, spec))
        if lease is None:
            return 0.0  # somebody else has written: look again
        self._seen, self._known = Seen(lease, now), True
        # counted from before the request: others count from after it
        self._leadership.hold_until(now + self._settings.renew_seconds)
        return self._settings.renew_seconds / _RENEWALS_PER_DEADLINE

    async def _newest(self) -> Seen:
        if self._seen and self._known:
            return self._seen
        lease = await self._store.get()
        self._seen = look(self._seen, lease, self._clock(), self._settings.seconds)
        return self._seen

    @property
    def _name(self) -> str:
        return f"{self._settings.namespace}/{self._settings.name}"
