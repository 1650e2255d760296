"""Keys and their limits as people write them: in the keys file, and to and from the queue's admin API.

The file is YAML or JSON, usually mounted from a Secret:

    keys:
      - id: team-a
        sha256: 5e88...                      # of the whole key; or `key:` with the key itself
        models: [llama-*, "llama-*:*"]
        limits: {requestsPerMinute: 600, tokensPerDay: 5000000}
    workers:
      - {name: lab-1, sha256: 03ac..., models: [llama-7b]}
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Literal, Self, TypeVar

from pydantic import AwareDatetime, ConfigDict, Field, model_validator

from headrace_api.base import KubernetesDocument, Message

KEYS_PATH = "/keys"
"""Where the queue's admin port has the keys: GET and POST here, DELETE `/{id}`, POST `/{id}/rotate`."""

SHORTEST_SECRET = 20
"""Characters; a shorter one could be found by trying, from its SHA-256."""

LONGEST_GRACE_SECONDS = 90 * 86400
"""For which a replaced secret can stay good."""

LOWEST_PRIORITY = -100
HIGHEST_PRIORITY = 100

Limit = Annotated[int, Field(ge=1, le=10**15)] | Literal["unlimited"] | None
"""A number, `unlimited`, or nothing: then the queue's default."""
Pattern = Annotated[str, Field(min_length=1, max_length=500)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Secret = Annotated[str, Field(min_length=SHORTEST_SECRET, max_length=500, pattern=r"^\S+$")]
Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$")]


_Entry = TypeVar("_Entry")


class KeyLimits(KubernetesDocument):
    """How much a key may use: any 60 seconds, a day of UTC, and at a time."""

    requests_per_minute: Limit = None
    tokens_per_minute: Limit = None
    requests_per_day: Limit = None
    tokens_per_day: Limit = None
    concurrent_requests: Limit = None

    def over(self, defaults: "KeyLimits") -> "KeyLimits":
        """These limits, and the defaults where these say nothing."""
        return defaults.model_copy(update=self.model_dump(exclude_none=True))


class KeyRights(KubernetesDocument):
    """What a key may do, however it is kept."""

    name: str = Field(default="", max_length=200)
    """For people."""
    models: list[Pattern] = ["*"]
    """Patterns of model names; an adapter is `model:adapter`."""
    limits: KeyLimits = KeyLimits()
    weight: float = Field(default=1.0, gt=0, le=1000)
    """Its share among keys that want the same model at the same time."""
    priority: int = Field(default=0, ge=LOWEST_PRIORITY, le=HIGHEST_PRIORITY)
    """Of its requests; they may say less, see `lowestPriority`."""
    lowest_priority: int = Field(default=LOWEST_PRIORITY, ge=LOWEST_PRIORITY, le=HIGHEST_PRIORITY)
    expires: AwareDatetime | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.lowest_priority > self.priority:
            raise ValueError(f"lowestPriority {self.lowest_priority} is above priority {self.priority}")
        return self

    def expires_at(self) -> float | None:
        """Seconds since 1970."""
        return _timestamp(self.expires)


class _Kept(KubernetesDocument):
    """The secret of an entry: itself, or its SHA-256; a list of the latter while one replaces another."""

    sha256: Sha256 | Annotated[list[Sha256], Field(min_length=1)] | None = None

    def secrets(self, field: Literal["key", "token"]) -> Iterator[tuple[str, str]]:
        """Each as itself and its SHA-256, of which one is empty."""
        given = getattr(self, field, None)
        if given:
            yield given, ""
        hashes = self.sha256 or []
        for one in [hashes] if isinstance(hashes, str) else hashes:
            yield "", one


class KeyEntry(KeyRights, _Kept):
    """A client's key in the keys file."""

    id: Id
    key: Secret | None = Field(default=None, repr=False)

    @model_validator(mode="after")
    def _has_a_secret(self) -> Self:
        return _one_of(self, "key", self.key, self.sha256)


class WorkerEntry(_Kept):
    """A worker's token in the keys file."""

    name: Id
    token: Secret | None = Field(default=None, repr=False)
    models: list[Pattern] = ["*"]
    generalist: bool = False
    """Whether it may come without naming its models, as workers of the seed's protocol do; then it serves any."""
    expires: AwareDatetime | None = None

    @model_validator(mode="after")
    def _has_a_secret(self) -> Self:
        if self.generalist and "*" not in self.models:
            raise ValueError("a generalist is given any model: leave `models` out, or `generalist`")
        return _one_of(self, "token", self.token, self.sha256)

    def expires_at(self) -> float | None:
        """Seconds since 1970."""
        return _timestamp(self.expires)


class KeyFile(KubernetesDocument):
    """The keys file."""

    keys: list[KeyEntry] = []
    workers: list[WorkerEntry] = []

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        for field, names in (("keys", [one.id for one in self.keys]), ("workers", [one.name for one in self.workers])):
            if double := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"{field}: {', '.join(double)} is there more than once")
        return self


class KeyInfo(KeyRights):
    """A key as the queue shows it: everything but its secret."""

    model_config = ConfigDict(extra="ignore")

    id: str
    source: Literal["database", "file"]
    created: datetime | None = None
    revoked: datetime | None = None

    def state(self, now: datetime) -> str:
        """One word for people."""
        if self.revoked:
            return "revoked"
        return "expired" if self.expires and self.expires <= now else "active"


class KeyList(Message):
    """All keys."""

    keys: list[KeyInfo]


class NewSecret(Message):
    """A key that was made: the only time that anybody sees it."""

    key: str = Field(repr=False)
    info: KeyInfo


class Rotation(KubernetesDocument):
    """A wish for a new secret: the one before stays good for so long."""

    grace_seconds: float = Field(default=0, ge=0, le=LONGEST_GRACE_SECONDS)


def _timestamp(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()


def _one_of(entry: _Entry, field: str, secret: str | None, sha256: object) -> _Entry:
    if (secret is None) == (sha256 is None):
        raise ValueError(f"give `{field}` or `sha256`, and not both")
    return entry
