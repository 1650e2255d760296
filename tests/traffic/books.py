"""What is written down: by clients of their requests, by the ledger of its rows, and of what was done."""

from dataclasses import dataclass
from enum import StrEnum


class End(StrEnum):
    """How a request ended for its client."""

    COMPLETE = "complete"
    LEFT = "left by its client"
    """In the middle of its stream, on purpose."""
    ERROR = "error"
    """OpenAI's error, and nothing of an answer."""
    BROKE_OFF = "broke off"
    """An error event after a part of the answer."""
    BROKEN = "connection broken"
    REFUSED = "no connection"
    HUNG = "hung"


FAILURES = frozenset({End.ERROR, End.BROKE_OFF, End.BROKEN, End.REFUSED, End.HUNG})


@dataclass(frozen=True)
class Asked:
    """A request in its client's book. Times are seconds since 1970, by the clock that queues have, too."""

    client: str
    """The id of its key, which nobody else has. A client asks one thing at a time unless `request_id` is known."""
    kind: str
    sent_at: float
    ended_at: float
    end: End
    request_id: str = ""
    """The queue's own; empty where no answer told it, or the client brought an id."""
    code: str = ""
    """Of the error."""
    begun: bool = False
    """Whether a part of the answer was seen: then a worker had it."""
    continuable: bool = False
    """Whether another worker can go on with it in the middle."""
    tokens: tuple[int, int] | None = None
    """Prompt and completion, as the client was told."""
    wrong: str = ""
    """What is not right about the answer."""
    detail: str = ""


@dataclass(frozen=True)
class Row:
    """What the audit needs of a row of the ledger."""

    request_id: str
    key: str
    model: str
    worker: str
    prompt_tokens: int
    completion_tokens: int
    received_at: float
    outcome: str
    doubt: str


class Act(StrEnum):
    """What is done to the cluster."""

    WORKER_KILLED = "worker killed"
    ENGINE_KILLED = "engine killed"
    QUEUE_KILLED = "queue killed"
    QUEUE_ROLLED = "queue rolled"
    SCALED = "scaled to zero and back"
    SLEPT = "slept at zero and woken"


WORKER_LOST = frozenset({Act.WORKER_KILLED, Act.ENGINE_KILLED})


@dataclass(frozen=True)
class Disturbance:
    """One act; `ended_at` is when all was as before."""

    act: Act
    victim: str
    began_at: float
    ended_at: float
