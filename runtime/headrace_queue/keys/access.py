"""`Access` by keys: who asks, whether it may, and whether it has not asked for too much. All from memory."""

from collections.abc import Callable, Iterable

from msgspec.structs import replace

from headrace_api.wire import Usage
from headrace_queue.access import Admission, Caller, Open
from headrace_queue.exchange import Call
from headrace_queue.keys import refusals
from headrace_queue.keys.estimate import Guess
from headrace_queue.keys.headers import rate_limit_fields, rate_limit_headers
from headrace_queue.keys.keyring import Key, Keyring
from headrace_queue.keys.meter import Meter, Refusal, Taken
from headrace_queue.keys.shares import Sharing


class KeyAccess:
    """The keys that are accepted now, with what each of them has used."""

    def __init__(self, sharing: Sharing, clock: Callable[[], float]) -> None:
        """`clock` gives seconds since 1970."""
        self.sharing = sharing
        self.clock = clock
        self.closed = False
        """Whether a key is needed."""
        self.short: Callable[[str], None] = lambda _: None
        """Told which key needs more of a limit than this replica holds."""
        self._ring = Keyring()
        self._accounts: dict[str, _Account] = {}
        self._active: dict[str, Meter] = {}

    @property
    def ring(self) -> Keyring:
        """The keys."""
        return self._ring

    def replace(self, ring: Keyring, *, closed: bool) -> None:
        """Accept these keys from now on; what keys have used stays counted."""
        self._ring, self.closed = ring, closed
        now = self.clock()
        for key_id, account in self._accounts.items():
            key = ring.keys.get(key_id)
            if key and account.meter.set_limits(key.limits):
                self._welcome(key_id, account.meter, now)

    def meters(self) -> dict[str, Meter]:
        """Of the keys that are in use, and have limits."""
        return dict(self._active)

    def rest(self, keys: Iterable[str]) -> None:
        """These keys are not in use any more."""
        for key in keys:
            self._active.pop(key, None)

    def caller(self, authorization: str, /) -> Caller:
        """See `Access.caller`."""
        return _Caller(self, self._ring.find(authorization, self.clock())) if self.closed else Open()

    def admit(self, key: Key, call: Call, /) -> Admission:
        """See `Caller.admit`."""
        now = self.clock()
        if not key.allows(call.model):
            raise refusals.model_denied(key.id, call.model)
        priority = _priority(key, call.wished_priority)
        call = replace(call, key=key.id, weight=key.info.weight, priority=priority)
        account = self._accounts.get(key.id)
        if account is None:
            account = self._accounts[key.id] = _Account(Meter(key.limits))
        if key.id not in self._active and account.meter.gauges:
            self._welcome(key.id, account.meter, now)
        tokens = account.guess.tokens(call)
        taken = account.meter.admit(tokens, now)
        if account.meter.short:
            self.short(key.id)
        if isinstance(taken, Refusal):
            raise refusals.rate_limited(key.id, taken, now, rate_limit_headers(account.meter, now))
        return _Admitted(call, taken, rate_limit_fields(account.meter, now), account, self.clock)

    def _welcome(self, key: str, meter: Meter, now: float) -> None:
        if meter.gauges:
            self._active[key] = meter
            self.sharing.welcome(key, meter, now)
        else:
            self._active.pop(key, None)


class _Caller:
    """Whoever has sent a key's secret."""

    __slots__ = ("_access", "_key")

    def __init__(self, access: KeyAccess, key: Key) -> None:
        self._access = access
        self._key = key

    def admit(self, call: Call, /) -> Admission:
        """See `Caller.admit`."""
        return self._access.admit(self._key, call)

    def visible(self, models: Iterable[str], /) -> list[str]:
        """See `Caller.visible`."""
        return sorted(filter(self._key.allows, models))


class _Account:
    """What one key has used."""

    __slots__ = ("guess", "meter")

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self.guess = Guess()


class _Admitted:
    """A call whose key lets it in; what it takes of the key's limits is given back once, whoever says so how often."""

    __slots__ = ("_account", "_clock", "_taken", "call", "fields")

    def __init__(self, call: Call, taken: Taken, fields: bytes, account: _Account, clock: Callable[[], float]) -> None:
        self.call = call
        self.fields = fields
        self._taken: Taken | None = taken
        self._account = account
        self._clock = clock

    def leave(self) -> None:
        """See `Admission.leave`."""
        if self._taken is not None:
            self._taken.leave(self._clock())

    def settle(self, usage: Usage | None, /, *, worked: bool) -> None:
        """See `Admission.settle`."""
        taken, self._taken = self._taken, None
        if taken is None:
            return
        guess = self._account.guess
        if usage is None:
            tokens = taken.tokens if worked else 0.0
        elif usage.prompt_tokens:
            tokens = float(usage.prompt_tokens + usage.completion_tokens)
            guess.learn(self.call, usage)
        else:
            tokens = guess.prompt(self.call) + usage.completion_tokens
        taken.settle(tokens, self._clock())


def _priority(key: Key, wished: int | None) -> int:
    highest, lowest = key.info.priority, key.info.lowest_priority
    if wished is None:
        return highest
    if not lowest <= wished <= highest:
        raise refusals.priority_denied(key.id, wished, lowest, highest)
    return wished
