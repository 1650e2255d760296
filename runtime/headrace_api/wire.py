"""The connection between a worker and a queue: `GET /worker`, a WebSocket that the worker opens.

Without a subprotocol it is the Spider's protocol: the worker sends one `Registration`, then the queue sends one
`SeedRequest` at a time and the worker answers each with one OpenAI-shaped JSON object.

With the subprotocol `headrace.v1` it carries many requests at once and is pull-based:

- Control messages are JSON objects, told apart by `type` (`WorkerMessage`, `QueueMessage`); a text frame holds one of
  them, or an array of them, which mean the same as if they had come one after the other.
- The worker sends `Register` first; the queue answers `Registered` or closes with a reason.
- A worker may be there before it can serve: `Register.state` and, when it changes, `Report` say how far it is. It takes
  jobs once it grants credits.
- `Serving` replaces the models that it registered with: an adapter has come or gone.
- Until it is ready a worker is given nothing; granting credits says that it is. One that falls back from `ready` keeps
  its jobs and its credits, which are not used until it is ready again. `draining` and `stopped` mean what `Drain` does.
- The worker grants credits; each `Job` that the queue sends uses up one of them.
- Response bytes are binary frames; one frame carries pieces of any number of jobs (`encode_pieces`). For a streamed
  request the pieces, put together, are the engine's server-sent events; otherwise they are the response body. The
  pieces of one job are in order and all come before its `Result`.
- `Result` ends a job. The queue acknowledges it; a worker sends it again, on its next connection, until it is.
- `HandBack` returns a job of which no piece was sent: the queue gives it to another worker. `failed` says that the
  engine was lost while it had the job: a request that crashes engines must not go from worker to worker for ever.
- `Cancel` asks the worker to stop a job whose client has left; the worker still sends its `Result`.
- `Drain` says that no further job may be sent (from the worker) or will be sent (from the queue); the jobs already
  under way are finished, then the worker closes.
- A worker that is connected with several replicas of a queue shares its slots between them: `Demand`, `Recall` and
  `Returned`, below.
"""

import struct
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from headrace_api.base import Message

SUBPROTOCOL = "headrace.v1"
"""The WebSocket subprotocol that a worker offers and a Headrace queue accepts."""

WORKER_PATH = "/worker"
"""Where a queue accepts workers."""

SEED_OPENAI_URL = "/v1/chat/completion"
"""What the seed protocol always puts into `openai_url` (singular, as its document has it)."""

MOST_CREDITS = 100_000
"""In one message, and of one worker at a time: more than any engine takes."""

CLOSE_BAD_REGISTRATION = 4400
CLOSE_BAD_TOKEN = 4401
"""WebSocket close codes: the registration cannot be understood; the worker's token is not accepted."""

_PIECE_HEADER = struct.Struct(">II")


class Gpu(Message):
    """One GPU: its name and its memory in MB; the seed leaves open what a `GpuInfo` has, so both may be absent."""

    name: str | None = None
    memory: int | float | None = None


class Registration(Message):
    """What a worker says of its machine; exactly the seed protocol's fields."""

    ln_url: str = ""
    cpu_count: int
    disk_space: int
    """GB."""
    vram: int
    """MB, of all GPUs together."""
    nv_gpu_count: int | None = None
    nv_driver_version: str | None = None
    nv_gpus: list[Gpu] | None = []
    cl_driver_version: str | None = None
    cl_gpus: list[Gpu] | None = []


class SeedRegistration(Registration):
    """A registration as a queue reads it: a worker that cannot send headers may put its token into it."""

    auth_key: str | None = Field(default=None, max_length=4096, repr=False)
    """See `CLOSE_BAD_TOKEN`. It is not in the seed's document, which lets unknown fields be."""


class SeedRequest(Message):
    """One request of the seed protocol."""

    openai_url: str = SEED_OPENAI_URL
    openai_req: dict[str, Any]


WorkerState = Literal["fetching", "loading", "warming", "ready", "draining", "stopped", "failed"]
"""Where a worker is in its life: getting weights, starting its engine, having it say one token, and so on."""


class Register(Registration):
    """A `headrace.v1` worker's first message: its machine and what it serves."""

    type: Literal["register"] = "register"
    worker: str = Field(max_length=253)
    """A name for people, unique among the workers of a model: the pod's name in Kubernetes."""
    models: list[str] = Field(min_length=1)
    """The model names it answers to; an adapter's is `<model>:<adapter>`."""
    adapters: list[str] = []
    """Those of `models` that are adapters."""
    capacity: int | None = None
    """Jobs that it takes at a time once it is ready, as far as it knows now."""
    state: WorkerState = "ready"
    fingerprint: str
    tags: list[str] = []
    hostings: list[str] = []
    shares: bool = False
    """Whether it takes `Demand`."""
    continues: bool = False
    """Whether it knows of `Job.continues`."""


class Report(Message):
    """How far a worker is; told when its state changes, and for its progress no more than once a second."""

    type: Literal["report"] = "report"
    state: WorkerState
    detail: str = ""
    """For people: which file it fetches, why it has to begin again, or what is amiss although it is ready."""
    done_bytes: int | None = Field(default=None, ge=0)
    total_bytes: int | None = Field(default=None, ge=0)
    """Of the weights that are being fetched, as far as their size is known."""


class Serving(Message):
    """The models that a worker answers to from now on."""

    type: Literal["serving"] = "serving"
    models: list[str] = Field(min_length=1)
    adapters: list[str] = []


class Credit(Message):
    """The worker can take `n` more jobs than it said before."""

    type: Literal["credit"] = "credit"
    n: int = Field(gt=0, le=MOST_CREDITS)


Count = Annotated[int, Field(ge=0, lt=2**31)]
"""Of tokens: what a metric can be raised by and a database's integer holds, whoever says it."""


class Usage(Message):
    """Tokens counted by the engine."""

    prompt_tokens: Count = 0
    cached_tokens: Count = 0
    """Of the prompt, those that the engine had from earlier requests."""
    completion_tokens: Count = 0
    total_tokens: Count = 0


class Result(Message):
    """The end of a job.

    `status` is the HTTP status for the client. When no piece was sent, `body` is the response (an OpenAI error object
    where `status` is not 200). After pieces were sent, a status other than 200 means that the response broke off.
    """

    type: Literal["result"] = "result"
    job: int
    request_id: str
    status: int = Field(default=200, ge=200, lt=600)
    usage: Usage | None = None
    gpu_seconds: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Of the worker's GPUs, shared among the jobs under way at each moment."""
    receipt: str = ""
    """The job's, as it came: with it any queue can account for a request whose own queue has died."""
    body: dict[str, Any] | None = None


class HandBack(Message):
    """The worker will not do this job, and has sent no piece of it."""

    type: Literal["handback"] = "handback"
    job: int
    reason: str
    failed: bool = False
    """Whether the engine was lost while it had the job; otherwise the worker has no room for it, or stops."""


class Drain(Message):
    """No further jobs (see the module's text)."""

    type: Literal["drain"] = "drain"
    reason: str = ""


class Registered(Message):
    """The queue accepts the worker."""

    type: Literal["registered"] = "registered"
    replica: str = ""
    """The id of this replica of the queue, another one at each start.

    Empty: it neither takes `Recall` nor sends `Demand`.
    """
    replicas: str = ""
    """`host:port` where all replicas are, this one among them, one address each; empty: the worker's URL."""


class Job(Message):
    """A request for the worker; `job` is the number that pieces and messages on this connection refer to."""

    type: Literal["job"] = "job"
    job: int = Field(ge=0, lt=2**32)
    request_id: str
    openai_url: str
    """The path the client asked for, e.g. `/v1/chat/completions`."""
    openai_req: dict[str, Any]
    waited_s: float = 0.0
    """How long it has been in the queue."""
    receipt: str = ""
    """For the `Result`; what is in it is the queue's affair."""
    continues: bool = False
    """Whether the answer has been begun by another worker, and only its rest is to be said. Of a chat, the last message
    is what the assistant has said (`continue_final_message` is true and `add_generation_prompt` false, as vLLM has
    them); of a completion, the prompt ends in it. The rest must not repeat it. A worker whose engine cannot do that
    hands the job back as failed."""


class Cancel(Message):
    """Stop this job."""

    type: Literal["cancel"] = "cancel"
    job: int


class Ack(Message):
    """The queue has recorded the `Result` of this request: the worker may forget it."""

    type: Literal["ack"] = "ack"
    request_id: str


# ---- sharing a worker between replicas
#
# A credit is in one of three places: granted and unused, in use by a job, or with the worker. It moves by these
# messages only: `Credit` grants it, `Job` uses it, the job's `Result` or `HandBack` brings it back to the worker,
# `Returned` gives an unused one back. Messages of one direction arrive in the order in which they were sent, so a
# worker that has read a `Returned` has read every `Job` that used a credit before it: what it counts is what the queue
# has. Until then it counts what it has recalled as granted: it never grants more than it has slots, to all replicas
# together. When a connection ends, and when either side says `Drain`, its unused credits are void on both sides.


class Demand(Message):
    """Requests wait at this replica that the worker could serve; the newest one counts.

    It is sent to some of the workers, in turn, and again when it has changed for a worker that was told.
    """

    type: Literal["demand"] = "demand"
    n: int = Field(ge=0)
    """More credits of this worker that would be used at once; 0: nothing waits any more."""
    waited_s: float = Field(default=0.0, ge=0)
    """How long the oldest of these requests has been here."""


class Recall(Message):
    """The worker asks for as many unused credits back. One at a time: the next one after the `Returned`."""

    type: Literal["recall"] = "recall"
    n: int = Field(gt=0)


class Returned(Message):
    """The answer to `Recall`, always exactly one: so many unused credits are void, no more than were asked for."""

    type: Literal["returned"] = "returned"
    n: int = Field(ge=0)


WorkerMessage = Annotated[
    Register | Report | Serving | Credit | Recall | Result | HandBack | Drain, Field(discriminator="type")
]
QueueMessage = Annotated[Registered | Job | Cancel | Ack | Demand | Returned | Drain, Field(discriminator="type")]

worker_messages: TypeAdapter[WorkerMessage] = TypeAdapter(WorkerMessage)
"""Reads one message of a worker's: `worker_messages.validate_json(text)`."""
queue_messages: TypeAdapter[QueueMessage] = TypeAdapter(QueueMessage)
"""Reads one message of a queue's: `queue_messages.validate_json(text)`."""
_worker_frames: TypeAdapter[list[WorkerMessage]] = TypeAdapter(list[WorkerMessage])
_queue_frames: TypeAdapter[list[QueueMessage]] = TypeAdapter(list[QueueMessage])

_LARGEST_ARRAY = 1 << 20
"""Characters of messages that share a frame; a message that is larger has one to itself."""


def read_worker_messages(frame: str | bytes) -> list[WorkerMessage]:
    """What a worker sent in one text frame.

    Raises:
        pydantic.ValidationError: it is neither a message nor an array of messages.
    """
    if frame[:1] in {"[", b"["}:
        return _worker_frames.validate_json(frame)
    return [worker_messages.validate_json(frame)]


def read_queue_messages(frame: str | bytes) -> list[QueueMessage]:
    """What a queue sent in one text frame; raises as `read_worker_messages`."""
    if frame[:1] in {"[", b"["}:
        return _queue_frames.validate_json(frame)
    return [queue_messages.validate_json(frame)]


def encode_messages(messages: Iterable[str]) -> Iterator[str]:
    """The text frames for messages that are JSON already: as few as may be, none of them needlessly large."""
    some: list[str] = []
    size = 0
    for message in messages:
        if some and size + len(message) > _LARGEST_ARRAY:
            yield _frame_of(some)
            some, size = [], 0
        some.append(message)
        size += len(message)
    if some:
        yield _frame_of(some)


def _frame_of(messages: list[str]) -> str:
    return messages[0] if len(messages) == 1 else f"[{','.join(messages)}]"


def encode_pieces(pieces: Iterable[tuple[int, bytes]]) -> bytes:
    """One binary frame of `(job, bytes)` pieces: for each, job and length as big-endian u32, then the bytes."""
    return b"".join([part for job, data in pieces for part in (_PIECE_HEADER.pack(job, len(data)), data)])


def decode_pieces(frame: bytes) -> Iterator[tuple[int, bytes]]:
    """The pieces of a binary frame, in order.

    Raises:
        ValueError: the frame ends in the middle of a piece.
    """
    offset = 0
    while offset < len(frame):
        if offset + _PIECE_HEADER.size > len(frame):
            raise ValueError(f"the frame ends within a piece's header, at byte {len(frame)}")
        job, length = _PIECE_HEADER.unpack_from(frame, offset)
        offset += _PIECE_HEADER.size
        if offset + length > len(frame):
            raise ValueError(f"the frame ends within a piece of job {job}: {length} bytes announced at byte {offset}")
        yield job, frame[offset : offset + length]
        offset += length
