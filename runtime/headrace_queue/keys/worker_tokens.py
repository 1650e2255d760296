"""Workers' tokens: who may join, and which models each may serve.

A table is built from what is configured and never changed; when the configuration does, another one takes its place
(`WorkerTokens.replace`), and whoever holds the old rights of a connected worker asks again, as when a token expires.
"""

import hmac
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from headrace_api.keys import WorkerEntry
from headrace_queue.keys.digests import digest, index
from headrace_queue.keys.patterns import EVERYTHING, matcher


@dataclass(frozen=True)
class WorkerRights:
    """What a worker may do."""

    name: str
    """Of its token, for logs; empty for a worker without one."""
    models: tuple[str, ...] = EVERYTHING
    """Patterns of the model names that it may serve."""
    generalist: bool = True
    """Whether it may come without naming its models, as workers of the seed's protocol do."""
    serves: Callable[[str], bool] = field(init=False, repr=False, compare=False)
    """Whether it may serve this model name."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "serves", matcher(self.models))

    def excess(self, models: Iterable[str]) -> str:
        """Which of these models it may not serve, in words; empty where it may serve all."""
        wrong = [name for name in models if not self.serves(name)]
        accepted = ", ".join(self.models)
        return f"models: the token {self.name!r} is not for {', '.join(wrong)}; it is for: {accepted}" if wrong else ""


@dataclass(frozen=True)
class WorkerToken:
    """One token that is accepted."""

    digest: bytes = field(repr=False)
    rights: WorkerRights
    expires: float | None = None
    """Seconds since 1970."""


def token_of(secret: str, rights: WorkerRights) -> WorkerToken:
    """The one token of a queue that has no table, as `--worker-token` gives it."""
    return WorkerToken(digest(secret), rights)


def tokens_of(entries: Iterable[WorkerEntry]) -> tuple[WorkerToken, ...]:
    """The tokens of a keys file."""
    return tuple(
        WorkerToken(kept, WorkerRights(one.name, tuple(one.models), one.generalist), one.expires_at())
        for one in entries
        for kept in (digest(secret) if secret else bytes.fromhex(given) for secret, given in one.secrets("token"))
    )


class WorkerTokens:
    """The tokens that are accepted now."""

    def __init__(
        self,
        tokens: Iterable[WorkerToken] = (),
        *,
        anonymous: bool | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`anonymous`: whether workers without a token may join; None: until a first token has been configured."""
        self._anonymous = anonymous
        self._clock = clock
        self._guarded = False
        self._watchers: list[Callable[[], None]] = []
        self._put(tokens)

    @property
    def open(self) -> bool:
        """Whether workers without a token may join."""
        return not self._guarded if self._anonymous is None else self._anonymous

    def rights(self, token: str | None) -> WorkerRights | None:
        """The rights of a worker that presents `token`; None if it may not join."""
        if not token or not self._guarded:
            return WorkerRights("") if self.open else None
        kept = digest(token)
        found = self._tokens.get(index(kept))
        if found is None or not hmac.compare_digest(found.digest, kept):
            return None
        if found.expires is not None and found.expires <= self._clock():
            return None
        return found.rights

    def replace(self, tokens: Iterable[WorkerToken]) -> None:
        """Accept these tokens from now on, and tell the watchers: they send workers away whose token has gone."""
        self._put(tokens)
        self._tell()

    def look(self) -> None:
        """Tell the watchers if a token has expired since the last look; cheap enough to be called every second."""
        if self._clock() >= self._next_end:
            self._note_next_end()
            self._tell()

    def watch(self, told: Callable[[], None]) -> None:
        """Have `told` called after each change, and when a token has expired."""
        self._watchers.append(told)

    def _tell(self) -> None:
        for told in self._watchers:
            told()

    def _put(self, tokens: Iterable[WorkerToken]) -> None:
        self._tokens = {index(each.digest): each for each in tokens}
        self._guarded = self._guarded or bool(self._tokens)  # taking the last token away opens nothing
        self._note_next_end()

    def _note_next_end(self) -> None:
        now = self._clock()
        ends = (each.expires for each in self._tokens.values() if each.expires is not None and each.expires > now)
        self._next_end = min(ends, default=math.inf)
