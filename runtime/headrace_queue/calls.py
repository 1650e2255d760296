"""Reads a client's body: checks what the queue needs and leaves everything else to the engine."""

from collections.abc import Callable
from typing import Any

import msgspec
from pydantic_core import from_json

from headrace_queue import prefixes
from headrace_queue.errors import ApiError, bad_body
from headrace_queue.exchange import Call
from headrace_queue.keys.estimate import most_tokens

CHAT = "/v1/chat/completions"
PATHS = {
    b"/v1/chat/completions": CHAT,
    b"/v1/completions": "/v1/completions",
    b"/v1/embeddings": "/v1/embeddings",
    b"/tokenize": "/tokenize",
    b"/v1/tokenize": "/tokenize",
}
"""The paths that a request can have, and what a worker gets to know of it: vLLM has `/tokenize` outside of `/v1`."""

STREAMED = frozenset({CHAT, "/v1/completions"})
"""Those of them whose answers can be streams."""

_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
"""A body's fields, the values unread."""


def read_call(raw: bytes, openai_url: str, request_id: str, resolve: Callable[[str], str]) -> Call:
    """The call that a body asks for; `resolve` gives the name of the model that a name means.

    Only where that is another one is the body written anew.

    Raises:
        ApiError: status 400; the message names the field and what is accepted.
    """
    body = _object(raw)
    asked = body.get("model")
    if not isinstance(asked, str) or not asked:
        raise _wrong(body, "model", "the name of a model, a string")
    stream = body.get("stream")
    if not (stream is None or isinstance(stream, bool)):
        raise _wrong(body, "stream", "true or false")
    if stream and openai_url not in STREAMED:
        raise _wrong(body, "stream", "false, as this path has no streams")
    if openai_url == CHAT:
        _check_messages(body)
    options = body.get("stream_options")
    if not (options is None or isinstance(options, dict)):
        raise _wrong(body, "stream_options", "an object")
    model = resolve(asked)
    if model != asked:
        body["model"] = model
        raw = _renamed(raw, model)
    names, most = prefixes.of_body(body), most_tokens(body)
    usage = bool(options and options.get("include_usage"))
    return Call(request_id, model, openai_url, raw, bool(stream), usage, prefixes=names, most_tokens=most)


def _renamed(raw: bytes, model: str) -> bytes:
    """The same body with another model: all else stays as it came, numbers that no float holds, too."""
    fields: dict[str, Any] = _FIELDS.decode(raw)
    return msgspec.json.encode(fields | {"model": model})


def _object(raw: bytes) -> dict[str, Any]:
    # Read as a worker reads it, one level down: a body that is nested too deeply must fail here and not there.
    try:
        parsed = from_json(b"[" + raw + b"]", allow_inf_nan=False)
    except ValueError:
        raise _unreadable(raw) from None
    if len(parsed) != 1 or not isinstance(parsed[0], dict):
        raise bad_body("The body must be one JSON object.")
    body: dict[str, Any] = parsed[0]
    return body


def _unreadable(raw: bytes) -> ApiError:
    try:
        from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        return bad_body(f"The body must be a JSON object in UTF-8: {error}.")
    return bad_body("The body is nested too deeply.")


def _check_messages(body: dict[str, Any]) -> None:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise _wrong(body, "messages", "a list of at least one message")
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise bad_body(f"`messages[{index}]` must be an object with a `role`.", param=f"messages[{index}]")


def _wrong(body: dict[str, Any], field: str, accepted: str) -> ApiError:
    if field not in body:
        return bad_body(f"`{field}` is missing: it must be {accepted}.", param=field)
    value = body[field]
    shown = repr(value) if isinstance(value, str | int | float | None) else f"a JSON {type(value).__name__}"
    return bad_body(f"`{field}` is {shown[:100]}: it must be {accepted}.", param=field)
