"""One client's request on its way: what was asked, and what has come back so far."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from headrace_api.wire import Usage
from headrace_queue.clock import Timer
from headrace_queue.errors import ApiError


@dataclass(frozen=True)
class Call:
    """What a client asked for. `raw` is the JSON object of its body, kept as it came."""

    request_id: str
    model: str
    openai_url: str
    raw: bytes
    stream: bool = False
    include_usage: bool = False
    key: str = ""
    """The id of the key that asks, never its secret; empty where there are no keys."""
    weight: float = 1.0
    """The key's share among those that want the same model."""
    priority: int = 0
    """The highest goes first."""
    deadline_s: float | None = None
    """Seconds after its arrival from which on nobody wants the answer any more."""
    adapter: str = ""
    """What of `model` is the adapter's name."""
    wished_priority: int | None = None
    """What the client asks for; its key decides."""
    most_tokens: int | None = None
    """What the answer may have at most, where the client has said."""

    @property
    def base(self) -> str:
        """`model` without the adapter: the name of those that share its workers."""
        return self.model.removesuffix(f":{self.adapter}") if self.adapter else self.model


@dataclass(frozen=True)
class End:
    """The end of an answer; `body` is the whole answer, or the error, where no bytes came before it."""

    status: int = 200
    body: dict[str, Any] | None = None
    usage: Usage | None = None
    retry_after: int | None = None
    gpu_seconds: float = 0.0
    """As the worker says."""

    @classmethod
    def failed(cls, error: ApiError) -> "End":
        """The end that tells a client of `error`."""
        return cls(error.status, error.body(), retry_after=error.retry_after)


class Exchange:
    """A call, its place in the queue, and the bytes that its client has not read yet.

    Those bytes are bounded by `limit`. The bytes of a streamed answer can be read as they come; those of an answer
    that is not streamed only when it is complete, so that until then another worker can begin anew.
    """

    def __init__(  # noqa: PLR0913, PLR0917  # what it is, who is told, and when it began
        self,
        call: Call,
        ticket: int,
        label: str,
        limit: int,
        abort: Callable[[], None],
        news: Callable[[], None],
        began: float,
    ) -> None:
        self.call = call
        self.ticket = ticket
        self.label = label
        """The metrics' label for its model: the same for all of its life, also when the model's workers have left."""
        self.abort = abort
        """Breaks the client's connection off: for a client that does not read."""
        self.news = news
        """Told at once when `take` may have something; it must not raise, and takes nothing before it returns."""
        self.began = began
        """When it came, on the dispatcher's clock."""
        self.attempts = 0
        self.job: int | None = None
        """The number under which a worker has it now."""
        self.worker = ""
        """What the last worker that had it calls itself."""
        self.started: float | None = None
        """When that worker got it, on the dispatcher's clock."""
        self.received = 0
        """Bytes that workers have sent for it."""
        self.used: End | None = None
        """What the last worker said of its end; what the client was told is `end`."""
        self.acks: list[Callable[[], None]] = []
        """To be called once its row is in the ledger."""
        self.sent = False
        """Whether a part of the answer is with the client, so that nobody can begin anew."""
        self.over = False
        self.first_byte: float | None = None
        """When the first bytes came, on the dispatcher's clock."""
        self.end: End | None = None
        self.held = False
        """Whether it waits for a worker."""
        self.deadline: Timer | None = None
        """For one whose client says how long it wants to wait."""
        self._limit = limit
        self._pieces: list[bytes] = []
        self._size = 0

    def put(self, data: bytes) -> bool:
        """Keep bytes of the answer for the client; False when they are too many."""
        if self._size + len(data) > self._limit:
            return False
        self._pieces.append(data)
        self._size += len(data)
        if self.call.stream:
            self.news()
        return True

    def restart(self) -> None:
        """Forget the bytes of a worker that did not finish."""
        self._pieces.clear()
        self._size = 0

    def finish(self, end: End) -> None:
        """No more bytes will come."""
        self.end = end
        self.news()

    def take(self) -> bytes | End | None:
        """The next bytes for the client (all that there are), else the end; None where there is nothing yet."""
        if self._readable():
            data = b"".join(self._pieces)
            self.restart()
            self.sent = True
            return data
        return self.end

    def _readable(self) -> bool:
        if not self._pieces:
            return False
        return self.call.stream or (self.end is not None and self.end.status == 200)
