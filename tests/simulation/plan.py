"""What happens in one run, drawn from its seed beforehand, so that a run that fails can be made smaller by parts."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from random import Random
from typing import Literal

from headrace_queue.limits import Limits

MODELS = ("a", "b")
END_OF_FAULTS_S = 20.0
"""From then on nothing goes wrong any more, and everything must settle."""

FaultKind = Literal[
    "cut", "stall", "kill worker", "kill queue", "stop queue", "stop worker", "engine dies", "models", "slots", "state"
]
_FAULTS: tuple[FaultKind, ...] = (
    "cut", "cut", "cut", "stall", "stall", "kill worker", "kill worker", "kill queue", "stop queue", "stop worker",
    "engine dies", "engine dies", "models", "slots", "state",
)  # fmt: skip
Temper = Literal["good", "error", "breaks", "hangs", "lies", "babbles", "mute"]


@dataclass(frozen=True)
class KeyPlan:
    number: int
    weight: float = 1.0
    priority: int = 0
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent_requests: int | None = None

    @property
    def id(self) -> str:
        return f"k{self.number}"

    @property
    def secret(self) -> str:
        return f"hr-{self.id}-secret"

    @property
    def limited(self) -> bool:
        return any((self.requests_per_minute, self.tokens_per_minute, self.concurrent_requests))


@dataclass(frozen=True)
class ClientPlan:
    number: int
    at: float
    model: str
    stream: bool
    include_usage: bool
    words: int
    read_pause_s: float = 0.0
    leaves_after_s: float | None = None
    key: KeyPlan = KeyPlan(0)
    priority: int | None = None
    """What it asks for; its key's if it asks for none."""
    says_most: bool = False
    """Whether it says how long its answer may be."""

    @property
    def request_id(self) -> str:
        return f"r{self.number}"


@dataclass(frozen=True)
class WorkerPlan:
    number: int
    models: tuple[str, ...]
    slots: int
    pace_s: float
    tempers: tuple[Temper, ...]
    """How its engine behaves, request after request; good when they are used up."""
    starts_after_s: float = 0.0
    continues: bool = True
    liar: bool = False
    """No worker of ours: it says what it wants."""


@dataclass(frozen=True)
class Fault:
    kind: FaultKind
    target: int
    seconds: float
    at: float | None = None
    """When, or else:"""
    after_frames: int = 0
    """As soon as so many frames have arrived, at the worker that sent or got the last one: in the midst of things."""


@dataclass(frozen=True)
class Plan:
    seed: int
    slowness: float
    limits: Limits
    clients: tuple[ClientPlan, ...]
    workers: tuple[WorkerPlan, ...]
    faults: tuple[Fault, ...] = field(default=())
    keys: tuple[KeyPlan, ...] = (KeyPlan(0),)
    ageing_s: float = 30.0

    @property
    def kind(self) -> bool:
        """Whether nothing at all goes wrong, so that every request must succeed."""
        good = all(set(worker.tempers) <= {"good"} and not worker.liar for worker in self.workers)
        patient = all(client.leaves_after_s is None and not client.read_pause_s for client in self.clients)
        return good and patient and not self.faults and self.limits == KIND_LIMITS

    def describe(self) -> str:
        parts = [f"seed {self.seed}", f"slowness {self.slowness}", str(self.limits), f"ageing {self.ageing_s} s"]
        return "\n".join(
            [*parts, *map(str, self.keys), *map(str, self.clients), *map(str, self.workers), *map(str, self.faults)]
        )


KIND_LIMITS = Limits(client_buffer_bytes=2**20, hold_seconds=300, request_seconds=300)


def draw(seed: int) -> Plan:
    rng = Random(seed)  # noqa: S311 - no secret
    kind = rng.random() < 0.1
    clients = tuple(_client(rng, number, kind=kind) for number in range(1, rng.randint(2, 7)))
    workers = tuple(_worker(rng, number, kind=kind) for number in range(rng.randint(1, 3)))
    if not kind and rng.random() < 0.15:
        workers = (*workers, replace(_worker(rng, 9, kind=False), liar=True))
    faults = () if kind else tuple(_fault(rng, workers) for _ in range(rng.choice((0, 1, 2, 3, 5))))
    slowness = rng.choice((0.0, 0.01, 0.3, 2.0))
    limits = KIND_LIMITS if kind else _limits(rng)
    crowd = tuple(_crowd(rng)) if rng.random() < 0.06 else ()
    if crowd:
        limits = replace(limits, max_waiting=100, max_waiting_bytes=2**20)
    keys = (KeyPlan(0), *(_key(rng, number, kind=kind) for number in range(1, rng.randint(3 if crowd else 1, 4))))
    says_most = rng.random() < 0.7
    everybody = (*clients, *crowd, *_late(rng, keys))
    clients = tuple(_keyed(rng, client, keys, says_most=says_most) for client in everybody)
    return Plan(seed, slowness, limits, clients, workers, faults, keys, ageing_s=rng.choice((2.0, 30.0)))


def _key(rng: Random, number: int, *, kind: bool) -> KeyPlan:
    key = KeyPlan(number, weight=rng.choice((1.0, 1.0, 2.0, 4.0)), priority=rng.choice((0, 0, 0, 1)))
    if kind or rng.random() < 0.5:
        return key
    return replace(
        key,
        requests_per_minute=rng.choice((None, 1, 2, 4)),
        tokens_per_minute=rng.choice((None, None, 60, 400)),
        concurrent_requests=rng.choice((None, 1, 2)),
    )


def _crowd(rng: Random) -> Iterator[ClientPlan]:
    """Many at once, who must share."""
    at, within = rng.random() * 10, rng.choice((0.3, 3.0))
    for number in range(11, 11 + rng.randint(6, 12)):
        yield replace(
            _client(rng, number, kind=True), at=at + rng.random() * within, model="a", words=rng.randint(0, 3)
        )


def _late(rng: Random, keys: tuple[KeyPlan, ...]) -> Iterator[ClientPlan]:
    """Some come when a minute, by which limits count, has gone by."""
    late = rng.randint(1, 4) if any(key.limited for key in keys) and rng.random() < 0.15 else 0
    for number in range(31, 31 + late):
        yield replace(_client(rng, number, kind=True), at=45 + rng.random() * 40)


def _keyed(rng: Random, client: ClientPlan, keys: tuple[KeyPlan, ...], *, says_most: bool) -> ClientPlan:
    priority = -1 if rng.random() < 0.1 else None
    return replace(client, key=rng.choice(keys), priority=priority, says_most=says_most)


def _limits(rng: Random) -> Limits:
    return Limits(
        max_waiting=rng.choice((0, 2, 100)),
        max_waiting_bytes=rng.choice((300, 2**20)),
        client_buffer_bytes=rng.choice((1500, 2**20)),
        hold_seconds=rng.choice((1.0, 5.0, 30.0)),
        request_seconds=rng.choice((4.0, 15.0, 60.0)),
        max_attempts=rng.randint(1, 3),
    )


def _client(rng: Random, number: int, *, kind: bool) -> ClientPlan:
    patient = kind or rng.random() < 0.7
    return ClientPlan(
        number=number,
        at=rng.random() * rng.choice((0.5, 5, 15)),
        model=rng.choice(MODELS) if rng.random() < 0.5 else "a",
        stream=rng.random() < 0.7,
        include_usage=rng.random() < 0.4,
        words=rng.randint(0, 5),
        read_pause_s=0.0 if patient or rng.random() < 0.5 else rng.random() * 3,
        leaves_after_s=None if patient else rng.random() * 6,
    )


def _worker(rng: Random, number: int, *, kind: bool) -> WorkerPlan:
    tempers: tuple[Temper, ...] = ("good", "good", "good", "error", "breaks", "hangs", "lies", "babbles", "mute")
    return WorkerPlan(
        number=number,
        models=MODELS if number == 0 or rng.random() < 0.5 else ("a",),
        slots=rng.randint(1, 3),
        pace_s=rng.choice((0.0, 0.01, 0.2, 1.0)),
        tempers=() if kind else tuple(rng.choice(tempers) for _ in range(rng.choice((0, 2, 4)))),
        continues=rng.random() < 0.8,
        starts_after_s=rng.choice((0.0, 0.0, rng.random() * 5)),
    )


def _fault(rng: Random, workers: tuple[WorkerPlan, ...]) -> Fault:
    seconds = rng.random() * rng.choice((0.1, 2, 8))
    kind, target = rng.choice(_FAULTS), rng.choice(workers).number
    if rng.random() < 0.6:
        kind = rng.choice(("cut", "kill worker", kind))
        return Fault(kind, target, seconds, after_frames=rng.randint(1, rng.choice((20, 120))))
    return Fault(kind, target, seconds, at=rng.random() * rng.choice((2, 18)))
