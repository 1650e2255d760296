"""Keys and their limits in a run: the real access, with a table of shares in memory, and a book of who was let in."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable
from random import Random

from headrace_api.keys import KeyInfo, KeyLimits
from headrace_queue.access import Admission, Caller
from headrace_queue.exchange import Call
from headrace_queue.keys.access import KeyAccess
from headrace_queue.keys.counters import MINUTE
from headrace_queue.keys.digests import digest
from headrace_queue.keys.keyring import Key, Keyring, Secret
from headrace_queue.keys.meter import Meter
from headrace_queue.keys.shares import LIVE_SECONDS, Proposal, Sharing
from tests.simulation.books import Book
from tests.simulation.database import Database
from tests.simulation.loop import Process
from tests.simulation.plan import KeyPlan

_STARTED_AT = 1_800_000_000.0
"""In seconds since 1970: when a run begins."""
_EXCHANGE_S = 5.0
_SHORT_S = 0.1


def wall() -> float:
    return _STARTED_AT + asyncio.get_running_loop().time()


class KeyBook:
    """Which requests were let in, over all queues of a run."""

    def __init__(self, keys: Iterable[KeyPlan], book: Book) -> None:
        self.ring = Keyring(map(_key, keys))
        self.wrong: list[str] = []
        self._book = book
        self._let_in: defaultdict[str, list[tuple[float, str]]] = defaultdict(list)

    def let_in(self, call: Call, now: float) -> None:
        """By its own key, and no more than that allows: of requests in any minute, of requests at a time."""
        plan = self._book.entries[call.request_id].client.key
        if (call.key, call.weight) != (plan.id, plan.weight):
            self.wrong.append(f"{call.request_id} is {plan.id}'s, and not {call.key}'s with weight {call.weight}")
        if not plan.limited:
            return
        let_in = self._let_in[call.key]
        let_in.append((now, call.request_id))
        recent = sum(1 for at, _ in let_in if at > now - MINUTE)
        if plan.requests_per_minute is not None and recent > plan.requests_per_minute:
            self.wrong.append(f"{recent} of {call.key} were let in within a minute")
        at_once = sum(1 for _, request_id in let_in if not self._book.entries[request_id].endings)
        if plan.concurrent_requests is not None and at_once > plan.concurrent_requests:
            self.wrong.append(f"{at_once} of {call.key} are under way")

    def forget(self, since: float) -> None:
        """A queue was killed, and has told nobody of those that it let in since then."""
        for key, let_in in self._let_in.items():
            self._let_in[key] = [each for each in let_in if each[0] <= since]


def _key(plan: KeyPlan) -> Key:
    limits = KeyLimits(
        requests_per_minute=plan.requests_per_minute,
        tokens_per_minute=plan.tokens_per_minute,
        concurrent_requests=plan.concurrent_requests,
    )
    info = KeyInfo(id=plan.id, source="file", weight=plan.weight, priority=plan.priority, limits=limits)
    return Key(info, [Secret(digest(plan.secret))], limits)


class WatchedAccess:
    """See `headrace_queue.access.Access`: the real one, and what `KeyService` does for it."""

    def __init__(self, process: Process, book: KeyBook, database: Database, rng: Random, slowness: float) -> None:
        self._process = process
        self._book = book
        self._database = database
        self._rng = rng
        self._slowness = slowness
        self._sharing = Sharing(process.name)
        self._access = KeyAccess(self._sharing, wall)
        self._access.replace(book.ring, closed=True)
        self._access.short = lambda _: self._exchange_in(_SHORT_S)
        self._timer: asyncio.TimerHandle | None = None
        self._told_at = wall()
        self._read(self._told_at)

    def caller(self, authorization: str, /) -> "_WatchedCaller":
        return _WatchedCaller(self._access.caller(authorization), self._let_in)

    def _let_in(self, call: Call) -> None:
        self._book.let_in(call, wall())
        if self._access.meters():
            self._exchange_in(_EXCHANGE_S)

    def meters(self) -> dict[str, Meter]:
        """Of the keys that have limits, and are in use."""
        return self._access.meters()

    def leave(self) -> None:
        """As `KeyService.close`."""
        now = wall()
        self._read(now)
        self._write(self._propose(now), now)
        self._database.heard[self._process.name] = now - LIVE_SECONDS

    def lost(self) -> None:
        """The process was killed."""
        self._book.forget(self._told_at)

    # ---- the exchange of shares: a transaction takes its time, and there is one at a time

    def _exchange_in(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        if self._timer is not None and self._timer.when() > loop.time() + seconds:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = loop.call_later(seconds, self._exchange)

    def _exchange(self) -> None:
        if self._process.alive:
            now = wall()
            self._read(now)
            later = self._rng.random() * self._slowness
            asyncio.get_running_loop().call_later(later, self._commit, self._propose(now), now)

    def _commit(self, proposal: Proposal, now: float) -> None:
        self._timer = None
        if self._process.alive:
            self._write(proposal, now)
            if self._access.meters():
                self._exchange_in(_EXCHANGE_S)

    def _read(self, now: float) -> None:
        self._database.heard[self._process.name] = now
        self._sharing.table.take_in(self._database.shares.values(), self._database.heard)

    def _propose(self, now: float) -> Proposal:
        proposal = self._sharing.propose(self._access.meters(), now)
        self._access.rest(proposal.idle)
        return proposal

    def _write(self, proposal: Proposal, now: float) -> None:
        self._told_at = now
        self._database.shares |= {(row.replica, row.key): row for row in proposal.rows}
        self._sharing.accept(proposal)


class _WatchedCaller:
    def __init__(self, caller: Caller, let_in: Callable[[Call], None]) -> None:
        self._caller = caller
        self._let_in = let_in

    def admit(self, call: Call, /) -> Admission:
        admission = self._caller.admit(call)
        self._let_in(admission.call)
        return admission

    def visible(self, models: Iterable[str], /) -> list[str]:
        return self._caller.visible(models)
