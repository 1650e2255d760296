"""One client's request on its way: what was asked, and what has come back so far."""

import json
from collections.abc import Callable
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from headrace_api.pieces import TOKEN_MARK
from headrace_api.wire import Usage
from headrace_queue.clock import Timer
from headrace_queue.conduct import credible
from headrace_queue.continuation import PATHS, Again, Over, Stitch, resumed, usage_in
from headrace_queue.errors import ApiError
from headrace_queue.needs import CONTINUES
from headrace_queue.sse import DONE
from headrace_queue.transcript import Transcript

_WORKED = (200, 499, 504)
"""Ends at which a worker that has the request has worked for it, though its client may have nothing of that."""


class Call(Struct, frozen=True, gc=False):
    """What a client asked for. `raw` is the JSON object of its body, kept as it came.

    A frozen dataclass takes ten times as long to make, of which there is one and more for each request.
    """

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
    needs: frozenset[str] = frozenset()
    """What the worker must offer, see `headrace_queue.needs`."""
    prefixes: tuple[int, ...] = ()
    """The names of what its prompt begins with, see `headrace_queue.prefixes`."""
    wished_priority: int | None = None
    """What the client asks for; its key decides."""
    continues: bool = False
    """Whether `raw` holds the beginning of the answer, to be continued; see `continuation`."""
    said_tokens: int = 0
    """How many tokens that beginning has, at least."""
    most_tokens: int | None = None
    """What the answer may have at most, where the client has said."""

    @property
    def base(self) -> str:
        """`model` without the adapter: the name of those that share its workers."""
        return self.model.removesuffix(f":{self.adapter}") if self.adapter else self.model


class End(Struct, frozen=True):
    """The end of an answer; `body` is the whole answer, or the error, where no bytes came before it."""

    status: int = 200
    body: dict[str, Any] | None = None
    usage: Usage | None = None
    retry_after: int | None = None
    gpu_seconds: float = 0.0
    """Of this worker, as it says."""
    estimated: bool = False
    """Whether no engine has counted all of `usage`, but the queue some of it, in events."""

    @classmethod
    def failed(cls, error: ApiError) -> "End":
        """The end that tells a client of `error`."""
        return cls(error.status, error.body(), retry_after=error.retry_after)


class Exchange:
    """A call, its place in the queue, and the bytes that its client has not read yet.

    Those bytes are bounded by `limit`. The bytes of a streamed answer can be read as they come; those of an answer
    that is not streamed only when it is complete, so that until then another worker can begin anew.
    """

    def __init__(  # noqa: PLR0913, PLR0915, PLR0917  # what it is, who is told, when it began; and all of its state
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
        """Workers that got it."""
        self.strikes = 0
        """Of those, the ones that failed it, as far as it may be its own fault."""
        self.suspect = False
        """Whether it is suspected of killing engines."""
        self.job: int | None = None
        """The number under which a worker has it now."""
        self.last_job = 0
        """The number under which a worker had it last, or has it now."""
        self.worker = ""
        """What the last worker that had it calls itself."""
        self.started: float | None = None
        """When that worker got it, on the dispatcher's clock."""
        self.received = 0
        """Bytes that workers have sent for it."""
        self.streamed = 0
        """Events with some of the answer that a stream's client has been given: about as many as tokens."""
        self.used: End | None = None
        """What the last worker said of its end; what the client was told is `end`."""
        self.gpu_seconds = 0.0
        """Of all workers that had it, as they say."""
        self.continued = False
        """Whether a worker was asked for the rest of what another one had said: what one of them counts is a part."""
        self.acks: list[Callable[[], None]] = []
        """To be called once its row is in the ledger."""
        self.sent = False
        """Whether a part of the answer is with the client, so that nobody can begin anew."""
        self.awaited = True
        """Whether its next worker has said nothing yet: the client, if it has anything, has whole events."""
        self.complete = False
        """Whether the client has all of a stream, the last event included."""
        self.over = False
        self.first_byte: float | None = None
        """When the first bytes came, on the dispatcher's clock."""
        self.end: End | None = None
        self.held = False
        """Whether it waits for a worker."""
        self.booked = False
        """Whether its row is written: nobody tells any more what it has used."""
        self._when_booked: Callable[[Exchange], None] | None = None
        self.deadline: Timer | None = None
        """For one whose client says how long it wants to wait."""
        self.asked = call
        """What the client asked for; `call` is what a worker is asked for, which may be the rest of it."""
        self._transcript: Transcript | None = None
        self._stitch: Stitch | None = None
        self._limit = limit
        self._pieces: list[bytes] = []
        self._size = 0

    def put(self, data: bytes) -> bool:
        """Keep bytes of the answer for the client; False when they are too many."""
        if self._stitch is not None:
            data = self._stitch.feed(data)
        if self._size + len(data) > self._limit:
            return False
        self._pieces.append(data)
        self._size += len(data)
        if self.call.stream:
            self.news()
        return True

    def put_last(self, data: bytes) -> None:
        """Keep the last bytes of the answer, instead of what the client has not got yet."""
        self._pieces, self._size = [data], len(data)

    def note_first_byte(self, now: float) -> None:
        """Something of an answer has come from a worker."""
        if self.first_byte is None:
            self.first_byte = now

    def restart(self) -> None:
        """Forget the bytes of a worker that did not finish."""
        self._pieces.clear()
        self._size = 0

    def finish(self, end: End) -> None:
        """No more bytes will come; who has all of a stream, or will have, is told of nothing that failed after it."""
        self.end = End(200, usage=end.usage) if self.has_all else end
        self.news()

    def take(self) -> bytes | End | None:
        """The next bytes for the client (all that there are), else the end; None where there is nothing yet."""
        if self._readable():
            data = b"".join(self._pieces)
            self.restart()
            if self._transcript is not None:
                data = self._noted(data, self._transcript)
            if data:
                self.sent, self.awaited = True, False
                if self.call.stream:
                    self.streamed += data.count(TOKEN_MARK)
                return data
        return self.end

    # ---- what it has used

    def book(self) -> None:
        """Its row is written."""
        self.booked = True
        if self._when_booked is not None:
            self._when_booked(self)
            self._when_booked = None

    def when_booked(self, told: "Callable[[Exchange], None]") -> None:
        """Have `told` called once its row is written: at once if it is."""
        if self.booked:
            told(self)
        else:
            self._when_booked = told

    def counted(self) -> Usage | None:
        """Its tokens, as its last worker has counted them, or else as far as they are known here."""
        for end in (self.used, self.end):
            if end is not None and (usage := self.credible(end)) is not None:
                return usage
        whole = self.end is not None and self.end.status == 200  # then not all of it was noted
        return None if whole else self.given()

    @property
    def worked(self) -> bool:
        """Whether a worker has worked for it, and did not just fail."""
        status = 499 if self.end is None else self.end.status
        return self.started is not None and (self.begun or status in _WORKED)

    # ---- streams that another worker may have to continue

    @property
    def has_all(self) -> bool:
        """Whether all of a stream is with the client, or here for it; its worker may not have told the end yet."""
        return self.complete or (self.call.stream and bool(self._pieces) and self._pieces[-1].endswith(DONE))

    @property
    def begun(self) -> bool:
        """Whether a part of the answer is here or has been."""
        return self.sent or bool(self._pieces)

    def keep(self) -> None:
        """Note what the client gets of a stream, so that it can be continued: its worker is one that knows how."""
        if self._transcript is None and self.call.stream and self.call.openai_url in PATHS and not self.sent:
            self._transcript = Transcript()

    def go_on(self) -> bool | Over:
        """Have the next worker asked for the rest of what the client has; False where that cannot be.

        What the client has not got yet is forgotten. `Over`: nothing is missing but these last bytes.
        """
        if self._transcript is None or self._transcript.lost:
            return False
        found = resumed(self.asked.openai_url, self.asked.raw, self._transcript.events())
        if isinstance(found, Again):
            self.restart()
            needs = self.asked.needs | {CONTINUES} if found.continued else self.asked.needs
            said = found.stitch.tokens if found.continued else 0
            self.call = replace(self.asked, raw=found.raw, continues=found.continued, needs=needs, said_tokens=said)
            self._stitch = found.stitch
            self.awaited = True
        return found if isinstance(found, Over) else found is not None

    def whole(self, end: End) -> End:
        """The end of all of the answer, given the end of its last part."""
        if self._stitch is None:
            return end
        return replace(end, usage=self._stitch.usage(end.usage), estimated=self._stitch.tokens > 0)

    def given(self) -> Usage | None:
        """What the client has got of a stream, or finds here, as far as it is known: an event has one token or more."""
        unread = b"".join(self._pieces)
        if self._transcript is not None and not self._transcript.lost:
            return usage_in(self.asked.openai_url, self._transcript.events() + unread.split(b"\n\n")[:-1])
        tokens = self.streamed + (unread.count(TOKEN_MARK) if self.call.stream else 0)
        return Usage(completion_tokens=tokens, total_tokens=tokens) if tokens else None

    def credible(self, end: End) -> Usage | None:
        """What a worker says of it in tokens, bounded by what has come: see `conduct.credible`."""
        if end.usage is None:
            return None
        return credible(end.usage, len(self.call.raw), self.answered(end))

    def answered(self, end: End) -> int:
        """Bytes that a worker which ends it so has said, as far as they bound what it can have counted."""
        size = self.received
        if end.body and end.usage is not None and end.usage.completion_tokens > size:
            size += len(json.dumps(end.body))
        return size

    def _noted(self, data: bytes, transcript: Transcript) -> bytes:
        """What the client can be given: whole events, until no more can come."""
        if self.end is not None and self.end.status == 200 and self.job is None:
            return data  # nobody has to go on with what is whole, nor to count it
        data, rest = transcript.split(data)
        if rest and self.end is None:
            self._pieces, self._size = [rest], len(rest)
        transcript.add(data)
        return data

    def _readable(self) -> bool:
        if not self._pieces:
            return False
        return self.call.stream or (self.end is not None and self.end.status == 200)
