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
- Response bytes are binary frames; one frame carries pieces of any number of jobs (`headrace_api.pieces`). For a
  streamed request the pieces, put together, are the engine's server-sent events; otherwise they are the response body.
  The pieces of one job are in order and all come before its `Result`.
- `Result` ends a job. The queue acknowledges it; a worker sends it again, on its next connection, until it is.
- `HandBack` returns a job of which no piece was sent: the queue gives it to another worker. `failed` says that the
  engine was lost while it had the job: a request that crashes engines must not go from worker to worker for ever.
- `Cancel` asks the worker to stop a job whose client has left; the worker still sends its `Result`.
- `Drain` says that no further job may be sent (from the worker) or will be sent (from the queue); the jobs already
  under way are finished, then the worker closes.
- A worker that is connected with several replicas of a queue shares its slots between them: `Demand`, `Recall` and
  `Returned`, below.
"""

import re
import sys
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta
from pydantic import Field
from pydantic_core import from_json

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
    """Whether it can say the rest of an answer that another worker has begun (`Job.continues`)."""


class _Tagged(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="type", tag=str.lower):
    """A message that is one of many, in the `type` of its name; what the other side may add to it is ignored."""


class Report(_Tagged, frozen=True):
    """How far a worker is; told when its state changes, and for its progress no more than once a second."""

    state: WorkerState
    detail: str = ""
    """For people: which file it fetches, why it has to begin again, or what is amiss although it is ready."""
    done_bytes: Annotated[int, Meta(ge=0)] | None = None
    total_bytes: Annotated[int, Meta(ge=0)] | None = None
    """Of the weights that are being fetched, as far as their size is known."""


class Serving(_Tagged, frozen=True):
    """The models that a worker answers to from now on."""

    models: Annotated[list[str], Meta(min_length=1)]
    adapters: list[str] = []


class Credit(_Tagged, frozen=True):
    """The worker can take `n` more jobs than it said before."""

    n: Annotated[int, Meta(gt=0, le=MOST_CREDITS)]


Count = Annotated[int, Meta(ge=0, lt=2**31)]
"""Of tokens: what a metric can be raised by and a database's integer holds, whoever says it."""


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Tokens counted by the engine."""

    prompt_tokens: Count = 0
    cached_tokens: Count = 0
    """Of the prompt, those that the engine had from earlier requests."""
    completion_tokens: Count = 0
    total_tokens: Count = 0


class Result(_Tagged, frozen=True):
    """The end of a job.

    `status` is the HTTP status for the client. When no piece was sent, `body` is the response (an OpenAI error object
    where `status` is not 200). After pieces were sent, a status other than 200 means that the response broke off.
    """

    job: int
    request_id: str
    status: Annotated[int, Meta(ge=200, lt=600)] = 200
    usage: Usage | None = None
    gpu_seconds: Annotated[float, Meta(ge=0, le=sys.float_info.max)] = 0.0
    """Of the worker's GPUs, shared among the jobs under way at each moment."""
    receipt: str = ""
    """The job's, as it came: with it any queue can account for a request whose own queue has died."""
    body: dict[str, Any] | None = None


class HandBack(_Tagged, frozen=True):
    """The worker will not do this job, and has sent no piece of it."""

    job: int
    reason: str
    failed: bool = False
    """Whether the engine was lost while it had the job; otherwise the worker has no room for it, or stops."""


class Drain(_Tagged, frozen=True):
    """No further jobs (see the module's text)."""

    reason: str = ""


class Registered(_Tagged, frozen=True):
    """The queue accepts the worker."""

    replica: str = ""
    """The id of this replica of the queue, another one at each start.

    Empty: it neither takes `Recall` nor sends `Demand`.
    """
    replicas: str = ""
    """`host:port` where all replicas are, this one among them, one address each; empty: the worker's URL."""


class Job(_Tagged, frozen=True):
    """A request for the worker; `job` is the number that pieces and messages on this connection refer to."""

    job: Annotated[int, Meta(ge=0, lt=2**32)]
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
    hands the job back."""
    said_tokens: Annotated[int, Meta(ge=0)] = 0
    """How many tokens of the answer have been said, at least. The limits in `openai_req` are of what may still be said;
    one that is the worker's or its engine's own must be less by these."""


class Cancel(_Tagged, frozen=True):
    """Stop this job."""

    job: int


class Ack(_Tagged, frozen=True):
    """The queue has recorded the `Result` of this request: the worker may forget it."""

    request_id: str


# ---- sharing a worker between replicas
#
# A credit is in one of three places: granted and unused, in use by a job, or with the worker. It moves by these
# messages only: `Credit` grants it, `Job` uses it, the job's `Result` or `HandBack` brings it back to the worker,
# `Returned` gives an unused one back. Messages of one direction arrive in the order in which they were sent, so a
# worker that has read a `Returned` has read every `Job` that used a credit before it: what it counts is what the queue
# has. Until then it counts what it has recalled as granted: it never grants more than it has slots, to all replicas
# together. When a connection ends, and when either side says `Drain`, its unused credits are void on both sides.


class Demand(_Tagged, frozen=True):
    """Requests wait at this replica that the worker could serve; the newest one counts.

    It is sent to some of the workers, in turn, and again when it has changed for a worker that was told.
    """

    n: Annotated[int, Meta(ge=0)]
    """More credits of this worker that would be used at once; 0: nothing waits any more."""
    waited_s: Annotated[float, Meta(ge=0)] = 0.0
    """How long the oldest of these requests has been here."""


class Recall(_Tagged, frozen=True):
    """The worker asks for as many unused credits back. One at a time: the next one after the `Returned`."""

    n: Annotated[int, Meta(gt=0)]


class Returned(_Tagged, frozen=True):
    """The answer to `Recall`, always exactly one: so many unused credits are void, no more than were asked for."""

    n: Annotated[int, Meta(ge=0)]


class _RegisterAgain(_Tagged, frozen=True, tag="register"):
    """A `Register` that is not the first message."""


WorkerMessage = Report | Serving | Credit | Recall | Result | HandBack | Drain
"""What a worker says after its `Register`."""
QueueMessage = Registered | Job | Cancel | Ack | Demand | Returned | Drain
"""What a queue says."""

_of_worker = msgspec.json.Decoder(WorkerMessage | _RegisterAgain | list[WorkerMessage | _RegisterAgain])
_of_queue = msgspec.json.Decoder(QueueMessage | list[QueueMessage])
_encoder = msgspec.json.Encoder()

_LARGEST_ARRAY = 1 << 20
"""Characters of messages that share a frame; a message that is larger has one to itself."""
_LONGEST_TYPE = 20
_WHERE = re.compile(r"(?P<what>.*) - at `\$(\[(?P<number>\d+)\])?\.?(?P<field>.*)`", re.DOTALL)
"""As msgspec ends what it says."""


class MessageError(ValueError):
    """A frame that is none of the protocol's; tells which field is wrong and what it should be.

    Of what it holds a `type` or a state is told, nothing else: the rest may be a prompt.
    """


def encoded(message: Register | WorkerMessage | QueueMessage) -> str:
    """A message as JSON."""
    return message.model_dump_json() if isinstance(message, Register) else _encoder.encode(message).decode()


def read_worker_messages(frame: str | bytes) -> list[WorkerMessage]:
    """What a worker sent in one text frame.

    Raises:
        MessageError: it is neither a message nor an array of messages.
    """
    messages = _read(_of_worker, frame)
    for each in messages:
        if isinstance(each, _RegisterAgain):
            raise MessageError("a worker registers once per connection")
        if isinstance(each, Result) and each.body is not None:
            _check_depth(each.body)
    return messages


def read_queue_messages(frame: str | bytes) -> list[QueueMessage]:
    """What a queue sent in one text frame; raises as `read_worker_messages`."""
    return _read(_of_queue, frame)


def _read(decoder: msgspec.json.Decoder[Any], frame: str | bytes) -> list[Any]:
    try:
        read = decoder.decode(frame)
    except (msgspec.DecodeError, RecursionError):
        read = _read_again(decoder.type, frame)
    return read if isinstance(read, list) else [read]


def _read_again(kind: Any, frame: str | bytes) -> Any:
    """What is wrong with it, if anything.

    A `Job` has numbers as clients write them, and msgspec reads no 1e999; a later version has other messages, too.
    """
    try:
        said = from_json(frame, allow_inf_nan=False)
    except ValueError as error:
        raise MessageError(f"not JSON: {error}") from None
    said = _known(said, kind)
    try:
        return msgspec.convert(said, kind)
    except msgspec.ValidationError as error:
        raise MessageError(_in_words(str(error), said)) from None


def _known(said: Any, kind: Any) -> Any:
    """Without the messages of types that are not known here."""
    types = {each.__struct_config__.tag for each in get_args(kind) if hasattr(each, "__struct_config__")}
    messages = said if isinstance(said, list) else [said]
    known = [each for each in messages if not _is_of_another(each, types)]
    return said if len(known) == len(messages) else known


def _is_of_another(message: Any, types: set[Any]) -> bool:
    kind = message.get("type") if isinstance(message, dict) else None
    return isinstance(kind, str) and kind not in types


def _check_depth(body: dict[str, Any]) -> None:
    """Whoever passes it on goes down into it: as deep as pydantic's parser goes, and not as deep as msgspec's."""
    try:
        from_json(_encoder.encode(body))
    except (ValueError, RecursionError) as error:
        raise MessageError(f"result.body: {error}") from None


def _in_words(error: str, said: Any) -> str:
    """The field by its message's type and its path."""
    found = _WHERE.fullmatch(error)
    what, number, field = found.group("what", "number", "field") if found else (error, None, "")
    message = said[int(number)] if number else said
    kind = str(message.get("type", ""))[:_LONGEST_TYPE] if isinstance(message, dict) and field != "type" else ""
    return f"{'.'.join(filter(None, (kind, field))) or 'message'}: {what}"


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
