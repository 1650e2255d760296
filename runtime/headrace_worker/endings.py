"""The end of a job, as `wire.Result` and `wire.HandBack` have it.

Once a request one of them is made, kept and written. As structs they cost a microsecond, as those models ten. What an
engine says of usage is checked by them, too.
"""

from typing import Annotated, Any

import msgspec

Count = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]
"""See `wire.Count`."""


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """See `wire.Usage`."""

    prompt_tokens: Count = 0
    cached_tokens: Count = 0
    completion_tokens: Count = 0
    total_tokens: Count = 0


class Result(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="type", tag="result"):
    """See `wire.Result`."""

    job: int
    request_id: str
    status: int = 200
    usage: Usage | None = None
    gpu_seconds: float = 0.0
    receipt: str = ""
    body: dict[str, Any] | None = None


class HandBack(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="type", tag="handback"):
    """See `wire.HandBack`."""

    job: int
    reason: str
    failed: bool = False


_encoder = msgspec.json.Encoder()


def encoded(ending: Result | HandBack) -> str:
    """The message as JSON."""
    return _encoder.encode(ending).decode()
